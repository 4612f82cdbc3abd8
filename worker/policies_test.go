package worker

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/flows"
	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/kernel"
)

// ownCgroup is a control group of the test's own; whoever may not make one, or load programs, skips.
func ownCgroup(t *testing.T) string {
	t.Helper()
	root, err := kernel.CgroupRoot()
	if err != nil {
		t.Skipf("no cgroup2: %v", err)
	}
	dir, err := os.MkdirTemp(root, "petrel-worker-test-")
	if errors.Is(err, os.ErrPermission) {
		t.Skip("not root: control groups cannot be made")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil { // it fails while anything is in it
			t.Error(err)
		}
	})
	return dir
}

// status asks the node's server for a page.
func (n *testNode) status(path string) int {
	n.Helper()
	addr, err := n.worker.NodeAddr(n.Context())
	if err != nil {
		n.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+path, nil)
	if err != nil {
		n.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		n.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestPoliciesAndFlowsWithEBPF: a pod that a policy selects starts once that is in the kernel, and the node tells flows.
func TestPoliciesAndFlowsWithEBPF(t *testing.T) {
	cgroup := ownCgroup(t)
	n := newTestNode(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "deny", UID: "deny"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	})
	n.stop()
	n.cfg.Proxy = ProxyConfig{Mode: service.Auto, Cgroup: cgroup}
	n.start()
	select {
	case <-n.worker.guard.decided:
	case <-time.After(patience):
		t.Fatal("it is not decided what serves")
	}
	if missing := n.worker.services.Serving().Missing; missing != "" {
		t.Skipf("eBPF is not to be had: %s", missing)
	}
	n.create(testPod("p", "idle"))
	n.ready("p")
	if _, page := n.http("http://" + must(n.worker.NodeAddr(t.Context())).String() + "/metrics"); !strings.Contains(page, "petrel_policy_sync_failures_total 0") ||
		strings.Contains(page, "petrel_policy_sync_seconds_count 0") {
		t.Errorf("nothing was enforced before the pod was ready:\n%s", page[max(0, strings.Index(page, "petrel_policy")):][:200])
	}
	if code := n.status(flows.Path); code != http.StatusOK {
		t.Errorf("flows: %d", code)
	}
	n.delete("p", 0)
	n.gone("p")
}

func must(at netip.AddrPort, err error) netip.AddrPort {
	if err != nil {
		panic(err)
	}
	return at
}

func TestNoPoliciesInUserSpace(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("p", "idle"))
	n.ready("p")
	if code := n.status(flows.Path); code != http.StatusNotImplemented {
		t.Errorf("flows: %d", code)
	}
}

// A pod waits for what serves to be known, but not for ever.
func TestAssignWaitsForTheDataPath(t *testing.T) {
	w, err := New(Config{Client: newTestNode(t).client, RootDir: t.TempDir(), RuntimeEndpoint: "/nowhere.sock"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.guard.assign(ctx, testPod("p", "idle"), nil); err == nil {
		t.Error("it did not wait")
	}
	w.guard.without()
	if err := w.guard.assign(t.Context(), testPod("p", "idle"), nil); err != nil {
		t.Error(err)
	}
	w.guard.release(types.NamespacedName{Namespace: "default", Name: "p"}) // of nobody
	_ = w.set.Close()
}

func TestWhoIsTheNode(t *testing.T) {
	cfg := Config{NodeName: "n", NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("10.9.0.0/30")}}
	g := newGuard(&cfg, newMetrics())
	g.podCIDRs = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")} }
	c := g.compiler()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"192.0.2.1/32", "127.0.0.0/8", "::1/128", "10.43.0.10/32", "10.42.1.0/32"} {
		if !slices.Contains(c.Hosts, netip.MustParsePrefix(want)) {
			t.Errorf("%s is not the node's", want)
		}
	}
	if len(c.Hosts) != 5 || len(c.PodCIDRs) != 1 {
		t.Errorf("hosts %v, pods %v", c.Hosts, c.PodCIDRs)
	}
	cfg.ClusterCIDRs = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}
	if c = g.compiler(); !slices.Equal(c.PodCIDRs, cfg.ClusterCIDRs) {
		t.Errorf("pods %v", c.PodCIDRs)
	}
	var source flows.Source = (*ebpfproxy.Flows)(nil)
	if g.source() == source {
		t.Error("a source of nothing")
	}
}
