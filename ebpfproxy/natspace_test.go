package ebpfproxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// space is a network namespace without a name: it ends with its last descriptor.
type space struct {
	t      testing.TB
	fd     int
	origin int
}

func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: cgroups, network namespaces and bpf")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip of iproute2")
	}
	s := &space{t: t, fd: -1, origin: -1}
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if s.origin, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		s.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if back := unix.Setns(s.origin, unix.CLONE_NEWNET); back != nil {
			panic(back) // the thread would take others into the namespace
		}
	}()
	<-done
	t.Cleanup(func() {
		unix.Close(s.fd)
		unix.Close(s.origin)
	})
	if err != nil {
		skipUnsupported(t, err)
	}
	s.sysctl("ipv6/conf/all/accept_dad=0", "ipv6/conf/default/accept_dad=0") // or new links are mute for two seconds
	s.ip("link set lo up")
	return s
}

// do calls f in the namespace.
func (s *space) do(f func()) {
	s.t.Helper()
	if err := s.enter(f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) enter(f func()) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		defer func() {
			if err := unix.Setns(s.origin, unix.CLONE_NEWNET); err != nil {
				panic(err) // as above
			}
			done <- nil
		}()
		f()
	}()
	return <-done
}

// ip has ip execute commands, one a line.
func (s *space) ip(commands string) {
	s.t.Helper()
	s.do(func() {
		cmd := exec.CommandContext(context.Background(), "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(commands)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Errorf("ip: %v: %s%s", err, out, commands)
		}
	})
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// sysctl sets values below /proc/sys/net: those of the namespace.
func (s *space) sysctl(settings ...string) {
	s.t.Helper()
	s.do(func() {
		for _, setting := range settings {
			name, value, _ := strings.Cut(setting, "=")
			if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
				s.t.Errorf("set %s: %v", setting, err)
			}
		}
	})
}

func (s *space) forward() {
	s.sysctl("ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1")
}

// wire lays a veth pair from here, as name, to other, as otherName.
func (s *space) wire(name string, other *space, otherName string) {
	s.t.Helper()
	s.ip(fmt.Sprintf("link add %s type veth peer name %s", name, otherName))
	s.ip(fmt.Sprintf("link set %s netns /proc/%d/fd/%d", otherName, os.Getpid(), other.fd))
	s.ip(fmt.Sprintf("link set %s up", name))
	other.ip(fmt.Sprintf("link set %s up", otherName))
}

func (s *space) link(name string) (i *net.Interface) {
	s.t.Helper()
	var err error
	s.do(func() { i, err = net.InterfaceByName(name) })
	if err != nil {
		s.t.Fatal(err)
	}
	return i
}

var spaceGroups atomic.Uint32

// natGroup makes a cgroup of the test's own, for the proxy's socket programs.
func natGroup(t testing.TB) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if checkCgroup(root) != nil {
			continue
		}
		path := filepath.Join(root, "petrel-nat-test-"+strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(int(spaceGroups.Add(1))))
		if os.Getuid() != 0 {
			t.Skip("needs root: cgroups, network namespaces and bpf")
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			skipUnsupported(t, err)
		}
		t.Cleanup(func() {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		})
		return path
	}
	t.Skip("needs a cgroup2 file system")
	return ""
}
