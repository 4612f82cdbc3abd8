package ebpfproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// arena is a thread in a network namespace and a cgroup of its own, so that a test's programs see its sockets alone.
type arena struct {
	t      testing.TB
	cgroup string
	calls  chan func()
}

const cgroupRoot = "/sys/fs/cgroup/unified"

func newArena(t testing.TB) *arena {
	t.Helper()
	needRoot(t)
	root := cgroupRoot
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	a := &arena{t: t, cgroup: filepath.Join(root, fmt.Sprintf("petrel-ebpfproxy-%d-%d", os.Getpid(), rand.Uint32())), calls: make(chan func())}
	if err := os.Mkdir(a.cgroup, 0o755); err != nil {
		skipUnsupported(t, err)
	}
	t.Cleanup(func() { a.removeCgroup() })
	// Threads of one process may be in different threaded groups.
	if err := os.WriteFile(filepath.Join(a.cgroup, "cgroup.type"), []byte("threaded"), 0); err != nil {
		skipUnsupported(t, err)
	}
	ready := make(chan error)
	go a.thread(ready)
	if err := <-ready; err != nil {
		skipUnsupported(t, err)
	}
	t.Cleanup(func() { close(a.calls) })
	return a
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: cgroups, network namespaces and bpf")
	}
}

func skipUnsupported(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, ErrUnsupported) && os.Getuid() != 0 {
		t.Skipf("this machine does not let the test run: %v", err)
	}
	t.Fatal(err)
}

// thread runs the calls; it is never unlocked, so that it ends with them.
func (a *arena) thread(ready chan<- error) {
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = loopbackUp()
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(a.cgroup, "cgroup.threads"), []byte(fmt.Sprint(unix.Gettid())), 0)
	}
	ready <- err
	for f := range a.calls {
		f()
	}
}

// in runs f inside.
func (a *arena) in(f func()) {
	done := make(chan struct{})
	a.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

func (a *arena) removeCgroup() {
	var err error
	for range 6000 {
		if err = os.Remove(a.cgroup); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(5 * time.Millisecond) // the thread is on its way out
	}
	a.t.Errorf("cgroup stays behind: %v", err)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// bpffs mounts a bpf file system for the test.
func bpffs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0700"); err != nil {
		skipUnsupported(t, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

var smallSizes = Sizes{Frontends: 1 << 10, Backends: 1 << 12, Slots: 1 << 14, Maglev: 251, Affinity: 1 << 10,
	Datagrams: 1 << 10, SourceRanges: 1 << 8, NodeAddresses: 16}

// open answers an open Proxy that ends with the test.
func (a *arena) open(cfg Config) *Proxy {
	a.t.Helper()
	p := a.openRaw(cfg)
	a.t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			a.t.Errorf("remove: %v", err)
		}
	})
	return p
}

// openRaw answers one that the test ends itself.
func (a *arena) openRaw(cfg Config) *Proxy {
	a.t.Helper()
	p := a.proxy(cfg)
	var err error
	a.in(func() { err = p.Open(context.Background()) }) // localhost is that of the namespace it is opened in
	if err != nil {
		skipUnsupported(a.t, err)
	}
	return p
}

func (a *arena) proxy(cfg Config) *Proxy {
	a.t.Helper()
	cfg.CgroupPath = a.cgroup
	cfg.Logger = slog.New(slog.NewTextHandler(testWriter{a.t}, nil))
	if cfg.Sizes == (Sizes{}) {
		cfg.Sizes = smallSizes
	}
	p, err := New(cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	return p
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// server is a TCP and UDP server that answers with its own address.
type server struct {
	addr netip.AddrPort
	tcp  *net.TCPListener
	udp  *net.UDPConn
}

// serve starts a server at addr; port 0 takes a free one.
func (a *arena) serve(addr string) *server {
	a.t.Helper()
	at := netip.MustParseAddrPort(addr)
	s := &server{}
	var err error
	a.in(func() {
		if s.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); err != nil {
			return
		}
		s.addr = s.tcp.Addr().(*net.TCPAddr).AddrPort()
		s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(s.addr))
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(s.stop)
	go s.answerStreams()
	go s.answerDatagrams()
	return s
}

func (s *server) stop() {
	s.tcp.Close()
	s.udp.Close()
}

func (s *server) answerStreams() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintf(c, "%s\n", s.addr)
			io.Copy(c, c)
		}()
	}
}

func (s *server) answerDatagrams() {
	b := make([]byte, 1500)
	for {
		_, from, err := s.udp.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		s.udp.WriteToUDPAddrPort([]byte(s.addr.String()), from)
	}
}

func (s *server) backend() Backend {
	return Backend{Addr: s.addr.Addr(), Port: s.addr.Port(), Name: "ns/" + s.addr.String()}
}

// sock is a raw socket, so that each system call's own answer is seen.
type sock struct {
	t  testing.TB
	fd int
	v6 bool
}

// socket makes one inside; v6 takes IPv4 addresses in their mapped form.
func (a *arena) socket(kind int, v6 bool) *sock {
	a.t.Helper()
	domain := unix.AF_INET
	if v6 {
		domain = unix.AF_INET6
	}
	var fd int
	var err error
	a.in(func() { fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		a.t.Fatal(err)
	}
	s := &sock{t: a.t, fd: fd, v6: v6}
	tv := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		a.t.Fatal(err)
	}
	return s
}

func (s *sock) close() { unix.Close(s.fd) }

func (s *sock) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if s.v6 {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

func addrPortOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func (s *sock) bind(addr string) {
	s.t.Helper()
	if err := unix.Bind(s.fd, s.sockaddr(netip.AddrPortFrom(netip.MustParseAddr(addr), 0))); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sock) connect(a netip.AddrPort) error { return unix.Connect(s.fd, s.sockaddr(a)) }

func (s *sock) peer() netip.AddrPort {
	s.t.Helper()
	sa, err := unix.Getpeername(s.fd)
	if err != nil {
		s.t.Fatal(err)
	}
	return addrPortOf(sa)
}

// line reads what a stream server greets with: its own address.
func (s *sock) line() string {
	s.t.Helper()
	var b [64]byte
	n, err := unix.Read(s.fd, b[:])
	for err == unix.EINTR { // a read with a timeout is not restarted after a signal
		n, err = unix.Read(s.fd, b[:])
	}
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	return strings.TrimSpace(string(b[:n]))
}

func (s *sock) send(a netip.AddrPort) error {
	return unix.Sendto(s.fd, []byte("hello"), 0, s.sockaddr(a))
}

// receive answers what came and from where.
func (s *sock) receive() (string, netip.AddrPort) {
	s.t.Helper()
	var b [64]byte
	n, from, err := unix.Recvfrom(s.fd, b[:], 0)
	for err == unix.EINTR {
		n, from, err = unix.Recvfrom(s.fd, b[:], 0)
	}
	if err != nil {
		s.t.Fatalf("receive: %v", err)
	}
	return string(b[:n]), addrPortOf(from)
}

// ask connects a stream, and answers which server it got.
func (a *arena) ask(to netip.AddrPort) (string, error) {
	s := a.socket(unix.SOCK_STREAM, to.Addr().Is6())
	defer s.close()
	if err := s.connect(to); err != nil {
		return "", err
	}
	return s.line(), nil
}

func (a *arena) mustAsk(to netip.AddrPort) string {
	a.t.Helper()
	got, err := a.ask(to)
	if err != nil {
		a.t.Fatalf("connect to %s: %v", to, err)
	}
	return got
}

func mustSync(t testing.TB, p *Proxy, services ...Service) {
	t.Helper()
	if err := p.Sync(context.Background(), services); err != nil {
		t.Fatal(err)
	}
}

func clusterIP(addr string, protocol Protocol, backends ...Backend) Service {
	at := netip.MustParseAddrPort(addr)
	return Service{Name: "ns/svc:" + addr, Frontend: Frontend{Addr: at.Addr(), Port: at.Port(), Protocol: protocol}, Backends: backends}
}

func (s Service) at() netip.AddrPort { return netip.AddrPortFrom(s.Frontend.Addr, s.Frontend.Port) }
