package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newSpace makes a namespace with its loopback device up.
func newSpace(t *testing.T) *Space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: network namespaces cannot be made")
	}
	made, end := make(chan string), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			failed <- err
			return
		}
		made <- fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		<-end
	}()
	var s *Space
	select {
	case err := <-failed:
		t.Skipf("this machine does not let the test run: %v", err)
	case path := <-made:
		var err error
		if s, err = Open(path); err != nil {
			t.Fatal(err)
		}
	}
	close(end)
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Do(up); err != nil {
		t.Fatal(err)
	}
	return s
}

func up() error {
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

func where(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
	}
	return name
}

func TestThreadsComeBack(t *testing.T) {
	s := newSpace(t)
	outside := where(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				inside := ""
				if err := s.Do(func() error { inside = where(t); return nil }); err != nil || inside == outside {
					t.Errorf("inside is %s, %v", inside, err)
				}
				if got := where(t); got != outside {
					t.Errorf("left in %s", got)
				}
			}
		})
	}
	wg.Wait()
	want := errors.New("its own")
	if err := s.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Do(func() error { t.Error("it was let in"); return nil }); err == nil {
		t.Error("a closed space is entered")
	}
}

func TestListenAndDial(t *testing.T) {
	s := newSpace(t)
	file, err := s.Listen(8080)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(8080); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_ = file.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "hello")
		_ = c.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := s.Dial(ctx, 8080)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if raw, err := io.ReadAll(c); string(raw) != "hello" || err != nil {
		t.Errorf("%q, %v", raw, err)
	}
	if _, err := s.Dial(ctx, 8081); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody's port: %v", err)
	}
	if addr, err := s.Address(); err != nil || addr.IsValid() {
		t.Errorf("a namespace without addresses has %s, %v", addr, err)
	}
	if err := s.Do(addAddress); err != nil {
		t.Fatal(err)
	}
	if addr, err := s.Address(); err != nil || addr != netip.MustParseAddr("10.99.0.1") {
		t.Errorf("its address is %s, %v", addr, err)
	}
}

func addAddress() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	if err := ifr.SetInet4Addr([]byte{10, 99, 0, 1}); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr)
}

// request asks over a source's far end.
func request(t *testing.T, c *net.UnixConn, what []byte) (byte, []int) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(what); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(16))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil || n != 1 {
		t.Fatalf("answered %d bytes, %v", n, err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) == 0 {
		return buf[0], nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	return buf[0], fds
}

func TestSource(t *testing.T) {
	s := newSpace(t)
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ours) }()
	far, err := net.FileConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	c := far.(*net.UnixConn)
	for _, want := range [][2]int{{unix.AF_INET, unix.SOCK_STREAM}, {unix.AF_INET6, unix.SOCK_DGRAM}} {
		errno, fds := request(t, c, []byte{byte(want[0]), byte(want[1])})
		if errno != 0 || len(fds) != 1 {
			t.Fatalf("errno %d, %d sockets", errno, len(fds))
		}
		domain, _ := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_DOMAIN)
		kind, _ := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_TYPE)
		if domain != want[0] || kind != want[1] {
			t.Errorf("a socket of family %d and kind %d, want %v", domain, kind, want)
		}
		_ = unix.Close(fds[0])
	}
	for _, refused := range [][]byte{{unix.AF_UNIX, unix.SOCK_STREAM}, {unix.AF_INET, unix.SOCK_RAW}, {unix.AF_PACKET, unix.SOCK_DGRAM}, {0, 0}} {
		if errno, fds := request(t, c, refused); errno != byte(unix.EPERM) || len(fds) > 0 {
			t.Errorf("%v: errno %d, %d sockets", refused, errno, len(fds))
		}
	}
	if _, err := c.Write([]byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err == nil {
		t.Error("a request that is none was served")
	}
	_ = c.Close()

	ours, theirs, err = Pair()
	if err != nil {
		t.Fatal(err)
	}
	go func() { served <- s.Serve(ours) }()
	_ = theirs.Close()
	if err := <-served; err != nil {
		t.Errorf("a client that goes: %v", err)
	}
}

func TestOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, file + "-none", "/proc/self/ns/uts"} {
		if s, err := Open(path); err == nil {
			_ = s.Close()
			t.Errorf("%s is taken for a network namespace", path)
		}
	}
}
