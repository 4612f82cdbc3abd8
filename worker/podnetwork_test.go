package worker

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/worker/network"
	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

// newNetns makes a network namespace of the test's own and answers its path.
func newNetns(t *testing.T) string {
	t.Helper()
	type made struct {
		file *os.File
		err  error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{err: err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		done <- made{f, err}
	}()
	m := <-done
	if errors.Is(m.err, unix.EPERM) {
		t.Skipf("%s: making a network namespace: %v", t.Name(), m.err)
	}
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.file.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", m.file.Fd())
}

// TestClusterMode has a worker wait for its pod CIDR, give addresses of it, and start again without the control plane.
func TestClusterMode(t *testing.T) {
	n := newTestNode(t)
	n.stop()
	n.cfg.CNISocket = n.socket + ".cni"
	n.cfg.NodeIPs, n.cfg.netns = []netip.Addr{netip.MustParseAddr("192.168.7.1")}, newNetns(t)
	n.start()
	ready := func() *corev1.NodeCondition {
		object, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		if err != nil {
			return nil
		}
		at := slices.IndexFunc(object.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
		if at < 0 {
			return nil
		}
		return &object.Status.Conditions[at]
	}
	n.eventually("the node to wait for its pod CIDR", func() bool {
		c := ready()
		return c != nil && c.Status == corev1.ConditionFalse && c.Reason == "NetworkNotReady"
	})
	n.eventually("the pod CIDR to be written", func() bool {
		object, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		if err == nil {
			object.Spec.PodCIDR, object.Spec.PodCIDRs = "10.42.3.0/24", []string{"10.42.3.0/24", "fd42:0:0:3::/64"}
			_, err = n.client.CoreV1().Nodes().Update(t.Context(), object, metav1.UpdateOptions{})
		}
		return err == nil
	})
	n.eventually("the node to be ready", func() bool { c := ready(); return c != nil && c.Status == corev1.ConditionTrue })
	n.eventually("the runtime to be told", func() bool { return n.runtime.PodCIDR() == "10.42.3.0/24" })
	n.create(testPod("a", "idle"))
	if p := n.ready("a"); len(p.Status.PodIPs) != 2 || p.Status.PodIP != p.Status.PodIPs[0].IP ||
		!strings.HasPrefix(p.Status.PodIP, "10.42.3.") || !strings.HasPrefix(p.Status.PodIPs[1].IP, "fd42:0:0:3:") {
		t.Errorf("the pod has the addresses %v, want one of each family", p.Status.PodIPs)
	}
	config := `{"cniVersion":"1.1.0","name":"petrel","type":"petrel-cni","socket":"` + n.cfg.CNISocket + `"}`
	status := func(key string) string { return map[string]string{"CNI_COMMAND": "STATUS"}[key] }
	if code := plugin.Run(status, strings.NewReader(config), io.Discard); code != 0 {
		t.Errorf("the plugin is told %d", code)
	}
	if used := n.worker.pool.Used(); used != 1 {
		t.Errorf("%d pods have addresses", used)
	}
	if _, err := os.Stat(filepath.Join(n.cfg.RootDir, "network", "nodes.json")); err != nil {
		t.Errorf("the nodes were not written down: %v", err)
	}

	// The Node was deleted, and the control plane gave the one that was registered anew other prefixes.
	n.eventually("other pod CIDRs to be written", func() bool {
		object, err := n.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
		if err == nil {
			object.Spec.PodCIDR, object.Spec.PodCIDRs = "10.42.9.0/24", []string{"10.42.9.0/24", "fd42:0:0:9::/64"}
			_, err = n.client.CoreV1().Nodes().Update(t.Context(), object, metav1.UpdateOptions{})
		}
		return err == nil
	})
	n.eventually("the pod to have an address that leads to it", func() bool {
		p := n.get("a")
		return p != nil && strings.HasPrefix(p.Status.PodIP, "10.42.9.") && p.Status.Phase == corev1.PodRunning
	})

	n.stop()
	n.away.Store(true)
	n.start()
	n.eventually("the pod CIDRs to be known", func() bool { return len(n.worker.pool.PodCIDRs()) == 2 })
	n.stop()
	if err := n.worker.RemoveNetwork(); err != nil {
		t.Error(err)
	}
}

func TestNetworkNode(t *testing.T) {
	object := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n"},
		Spec:       corev1.NodeSpec{PodCIDR: "10.42.3.0/24", PodCIDRs: []string{"10.42.3.7/24", "nonsense", "fd42::/64"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "n"}, {Type: corev1.NodeExternalIP, Address: "203.0.113.1"},
			{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeInternalIP, Address: "fd00::1"},
		}},
	}
	got := networkNode(object)
	want := network.Node{
		Name: "n", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.3.0/24"), netip.MustParsePrefix("fd42::/64")},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	object.Spec.PodCIDRs = nil
	if got := networkNode(object); !strings.Contains(fmt.Sprint(got), "10.42.3.0/24") {
		t.Errorf("podCIDR alone was overlooked: %v", got)
	}
}
