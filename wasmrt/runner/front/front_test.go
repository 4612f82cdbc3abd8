package front

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// named greets with its name and closes; it may be told to wait before, or to admit nobody.
type named struct {
	name   string
	refuse atomic.Bool
	hold   chan struct{}
}

func (n *named) Admit(c net.Conn) bool {
	if n.hold != nil {
		<-n.hold
	}
	if n.refuse.Load() {
		return false
	}
	_, _ = io.WriteString(c, n.name)
	_ = c.Close()
	return true
}

func newFront(t *testing.T) *Front {
	t.Helper()
	f := New(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// own is where the front's socket is itself. Nothing steers here, so that it stands for a pod's address.
func (f *Front) own(t *testing.T, network string) netip.AddrPort {
	t.Helper()
	s, err := f.open(network)
	if err != nil {
		t.Fatal(err)
	}
	return s.Addr().(*net.TCPAddr).AddrPort()
}

func ask(t *testing.T, at netip.AddrPort) (string, error) {
	t.Helper()
	c, err := net.DialTimeout("tcp", at.String(), 60*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	raw, err := io.ReadAll(c)
	return string(raw), err
}

func TestServe(t *testing.T) {
	f := newFront(t)
	at := f.own(t, "tcp4")
	if got, err := ask(t, at); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("nobody's address: %q, %v", got, err)
	}
	one, two := &named{name: "one"}, &named{name: "two"}
	other := netip.MustParseAddrPort("127.42.0.9:8080")
	if err := f.Serve(one, at, other); err != nil {
		t.Fatal(err)
	}
	if err := f.Serve(two, netip.MustParseAddrPort("127.42.0.8:8080"), other); !errors.Is(err, ErrTaken) {
		t.Errorf("a taken address: %v", err)
	}
	if f.serverOf(netip.MustParseAddrPort("127.42.0.8:8080")) != nil {
		t.Error("of two addresses one was given")
	}
	if got, err := ask(t, at); got != "one" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	f.Leave(two, at)
	if got, err := ask(t, at); got != "one" || err != nil {
		t.Errorf("after another left: %q, %v", got, err)
	}
	f.Leave(one, at)
	if err := f.Serve(two, netip.AddrPortFrom(netip.AddrFrom16(at.Addr().As16()), at.Port())); err != nil { // the same, written long
		t.Fatal(err)
	}
	if got, err := ask(t, at); got != "two" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	two.refuse.Store(true)
	if got, err := ask(t, at); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("a server that admits nobody: %q, %v", got, err)
	}
}

func TestFamilies(t *testing.T) {
	f := newFront(t)
	for address, want := range map[string]string{"10.42.0.1:80": "tcp4", "[::ffff:10.42.0.1]:80": "tcp4", "[fd42::1]:80": "tcp6"} {
		if got := Network(netip.MustParseAddrPort(address)); got != want {
			t.Errorf("%s is of %s", address, got)
		}
	}
	one := &named{name: "one"}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil { // a host may have no IPv6
		_ = l.Close()
		six := f.own(t, "tcp6")
		if err := f.Serve(one, six); err != nil {
			t.Fatal(err)
		}
		if got, err := ask(t, six); got != "one" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	file, err := f.Listener("tcp4")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if at := f.own(t, "tcp4"); l.Addr().(*net.TCPAddr).AddrPort() != at {
		t.Errorf("another socket was handed on: %s", l.Addr())
	}
}

// TestSettle: whoever had connected before has been handed on when it returns, however long the queue was.
func TestSettle(t *testing.T) {
	const clients = 50
	f := newFront(t)
	at := f.own(t, "tcp4")
	slow := &named{name: "slow", hold: make(chan struct{})}
	if err := f.Serve(slow, at); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var conns []net.Conn
	for range clients {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	short, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := f.Settle(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it settled though nobody was accepted: %v", err)
	}
	time.AfterFunc(10*time.Millisecond, func() { close(slow.hold) })
	if err := f.Settle(context.Background()); err != nil {
		t.Error(err)
	}
	f.Leave(slow, at)
	for _, c := range conns {
		wg.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(60 * time.Second))
			if raw, err := io.ReadAll(c); string(raw) != "slow" || err != nil {
				t.Errorf("%q, %v", raw, err)
			}
		})
	}
	wg.Wait()
	if err := f.Settle(context.Background()); err != nil { // nobody waits
		t.Error(err)
	}
	if n := f.probes.n.Load(); n != 0 || len(f.probes.of) != 0 {
		t.Errorf("%d probes are left", n)
	}
}

func TestClosed(t *testing.T) {
	f := newFront(t)
	at := f.own(t, "tcp4")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, at); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("it listens: %v", err)
	}
	if err := f.Serve(&named{}, at); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Listener("tcp6"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := f.Settle(context.Background()); err != nil {
		t.Error(err)
	}
}
