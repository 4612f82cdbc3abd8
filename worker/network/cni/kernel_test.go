package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

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

// TestOnTheKernel attaches a container to a real network and takes it off again.
func TestOnTheKernel(t *testing.T) {
	n, err := network.New(network.Config{
		Mode: network.Cluster, NodeName: "a", NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.7.1")}, Netns: newNetns(t),
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24"), netip.MustParsePrefix("fd42:0:0:1::/64")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Remove(); err != nil {
			t.Error(err)
		}
	})
	socket, _ := serve(t, n)
	pod := newNetns(t)
	env := func(command string) []string { return append([]string{"CNI_NETNS=" + pod}, container(command)...) }
	for round := range 3 { // ADD again without DEL is a runtime that lost its answer
		code, got := invoke(t, conf("1.0.0", socket), env("ADD")...)
		if code != 0 {
			t.Fatalf("ADD %d: %v", round, got)
		}
		if ips := got["ips"].([]any); len(ips) != 2 || ips[0].(map[string]any)["address"] != "10.42.1.1/32" || ips[1].(map[string]any)["address"] != "fd42:0:0:1::2/128" {
			t.Errorf("ADD %d gave %v", round, ips)
		}
		if code, got := invoke(t, conf("1.0.0", socket), env("CHECK")...); code != 0 {
			t.Errorf("CHECK %d: %v", round, got)
		}
	}
	// Another sandbox of the same pod gets the pod's addresses; the pod keeps them while one of the two is there.
	other, next := newNetns(t), []string{"CNI_CONTAINERID=c2"}
	if code, got := invoke(t, conf("1.0.0", socket), append(append(next, "CNI_NETNS="+other), container("ADD")...)...); code != 0 {
		t.Fatal(got)
	}
	if code, got := invoke(t, conf("1.0.0", socket), env("DEL")...); code != 0 || n.Used() != 1 {
		t.Errorf("DEL: %v, %d owners of addresses", got, n.Used())
	}
	if code, got := invoke(t, conf("1.0.0", socket), env("CHECK")...); code != 1 || got["code"] != float64(plugin.CodeContainer) {
		t.Errorf("CHECK of a container that is gone: %d, %v", code, got)
	}
	if code, got := invoke(t, conf("1.0.0", socket), append(next, container("DEL")...)...); code != 0 || n.Used() != 0 {
		t.Errorf("DEL: %v, %d owners of addresses", got, n.Used())
	}
	if left, err := n.Attached(); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if code, got := invoke(t, conf("1.0.0", socket), append([]string{"CNI_NETNS=/proc/self/fd/9999"}, container("ADD")...)...); code != 1 || n.Used() != 0 {
		t.Errorf("ADD to no namespace: %v, %d owners of addresses", got, n.Used())
	}
}
