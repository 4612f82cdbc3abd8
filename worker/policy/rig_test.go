package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// The first thread is Go's for good: a test that left it in a cgroup could not remove that.
func init() { runtime.LockOSThread() }

// rig is a thread in a network namespace and a control group of its own, with an enforcer on that group.
type rig struct {
	t        testing.TB
	cgroup   string
	calls    chan func()
	enforcer *ebpfproxy.Enforcer
}

// do runs f on the thread.
func (r *rig) do(f func()) {
	done := make(chan struct{})
	r.calls <- func() { defer close(done); f() }
	<-done
}

func newRig(t testing.TB) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: no control groups, network namespaces and bpf")
	}
	root := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	r := &rig{t: t, cgroup: filepath.Join(root, fmt.Sprintf("petrel-policy-%d-%d", os.Getpid(), rand.Uint32())), calls: make(chan func())}
	r.must(os.Mkdir(r.cgroup, 0o755))
	t.Cleanup(r.removeGroup)
	r.must(os.WriteFile(filepath.Join(r.cgroup, "cgroup.type"), []byte("threaded"), 0))
	ready := make(chan error)
	go r.thread(ready)
	r.must(<-ready)
	t.Cleanup(func() { close(r.calls) })

	p, err := ebpfproxy.New(ebpfproxy.Config{CgroupPath: r.cgroup, Sizes: ebpfproxy.Sizes{
		Frontends: 16, Backends: 16, Slots: 64, Affinity: 16, Datagrams: 16, SourceRanges: 16, NodeAddresses: 16}})
	r.must(err)
	r.must(p.Open(context.Background()))
	t.Cleanup(func() { r.must(p.Remove()) })
	r.enforcer, err = ebpfproxy.NewEnforcer(ebpfproxy.EnforcerConfig{Proxy: p, Sizes: ebpfproxy.PolicySizes{
		Peers: 1024, Endpoints: 64, Rules: 4096, Tracked: 4096}})
	r.must(err)
	r.must(r.enforcer.Open(context.Background()))
	t.Cleanup(func() { r.must(r.enforcer.Close()) })
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
		r.t.Skipf("this machine does not let the test run: %v", err)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// thread is never unlocked, so that it ends with the calls.
func (r *rig) thread(ready chan<- error) {
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = loopbackUp()
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(r.cgroup, "cgroup.threads"), []byte(fmt.Sprint(unix.Gettid())), 0)
	}
	ready <- err
	for f := range r.calls {
		f()
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

func (r *rig) removeGroup() {
	var err error
	for range 6000 {
		if err = os.Remove(r.cgroup); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond) // its thread is on its way out
	}
	r.t.Errorf("control group stays behind: %v", err)
}

// servers are sockets of every pod, on every port that is asked about.
type servers map[ebpfproxy.Protocol]map[netip.AddrPort]int

// open makes a socket that never blocks, bound to an address.
func (r *rig) open(kind int, at netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, sockaddr(at))
	}
	return fd, err
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
}

func (r *rig) serve(addrs []netip.Addr) servers {
	r.t.Helper()
	s := servers{ebpfproxy.TCP: {}, ebpfproxy.UDP: {}}
	r.do(func() {
		for _, addr := range addrs {
			for _, port := range portsAsked {
				at := netip.AddrPortFrom(addr, uint16(port))
				listener, err := r.open(unix.SOCK_STREAM, at)
				r.t.Cleanup(func() { unix.Close(listener) })
				socket, udpErr := r.open(unix.SOCK_DGRAM, at)
				r.t.Cleanup(func() { unix.Close(socket) })
				if err = errors.Join(err, udpErr); err == nil {
					err = unix.Listen(listener, 128)
				}
				if err != nil {
					r.t.Errorf("serve %s: %v", at, err)
				}
				s[ebpfproxy.TCP][at], s[ebpfproxy.UDP][at] = listener, socket
			}
		}
	})
	return s
}
