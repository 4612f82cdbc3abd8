package steering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a Steerer that writes down which socket has what, by its inode.
type book struct {
	mu   sync.Mutex
	at   map[netip.AddrPort]uint64
	full int // how many addresses fit; 0: any number
}

var errFull = errors.New("the table is full")

func (b *book) Listen(at netip.AddrPort, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.at[at]; !ok && b.full > 0 && len(b.at) >= b.full {
		return fmt.Errorf("%s: %w", at, errFull)
	}
	b.at[at] = st.Ino
	return nil
}

func (b *book) Remove(at netip.AddrPort) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.at, at)
	return nil
}

func (b *book) Addresses() []netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.at))
}

func (b *book) of(at netip.AddrPort) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at[at]
}

// serve runs a server until the test ends, or stop is called.
func serve(t *testing.T, socket string, steerer func(context.Context) (Steerer, error)) (stop func()) {
	t.Helper()
	s, err := NewServer(ServerConfig{Socket: socket, Steerer: steerer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func known(b *book) func(context.Context) (Steerer, error) {
	return func(context.Context) (Steerer, error) { return b, nil }
}

// dial connects as soon as the server listens.
func dial(t *testing.T, socket string) (*Client, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		c, err := Dial(ctx, socket)
		var off *OffError
		if err == nil || errors.As(err, &off) {
			t.Cleanup(func() { _ = c.Close() })
			return c, err
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// listener answers a file of a listening socket and its inode.
func listener(t *testing.T) (*os.File, uint64) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return f, st.Ino
}

func address(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 42, byte(i >> 8), byte(i)}), 8080)
}

func TestAddressesAreTold(t *testing.T) {
	b := &book{at: map[netip.AddrPort]uint64{}}
	// The path is longer than an address can be.
	socket := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	if err := os.Mkdir(socket, 0o700); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(socket, "s")
	serve(t, socket, known(b))
	c, err := dial(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	one, first := listener(t)
	two, second := listener(t)
	many := make([]netip.AddrPort, 2*MaxAddresses+7)
	for i := range many {
		many[i] = address(i)
	}
	if err := c.Listen(ctx, one, many...); err != nil {
		t.Fatal(err)
	}
	six := netip.MustParseAddrPort("[fd42::1]:443")
	if err := errors.Join(c.Listen(ctx, two, many[3], six), c.Remove(ctx, many[4])); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[netip.AddrPort]uint64{many[0]: first, many[len(many)-1]: first, many[3]: second, six: second, many[4]: 0} {
		if got := b.of(at); got != want {
			t.Errorf("%s is of socket %d, want %d", at, got, want)
		}
	}
	if err := c.Settle(ctx); err != nil || len(b.Addresses()) != len(many) {
		t.Errorf("settled: %v, %d addresses", err, len(b.Addresses()))
	}
	for _, bad := range []string{"10.42.0.1:0", "[::ffff:10.42.0.1]:80", "[fe80::1%lo]:80"} {
		if err := c.Listen(ctx, one, netip.MustParseAddrPort(bad)); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", bad, err)
		}
		if c, err = dial(t, socket); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSettleEndsWhatNobodyNamed is what happens when either side was restarted.
func TestSettleEndsWhatNobodyNamed(t *testing.T) {
	b := &book{at: map[netip.AddrPort]uint64{}}
	socket := filepath.Join(t.TempDir(), "s")
	stop := serve(t, socket, known(b))
	ctx := context.Background()
	one, inode := listener(t)
	first, err := dial(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Listen(ctx, one, address(1), address(2)); err != nil {
		t.Fatal(err)
	}
	second, err := dial(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	<-first.Done() // the last that connected is the client
	if err := first.Remove(ctx, address(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("the former client: %v", err)
	}
	if len(b.Addresses()) != 2 {
		t.Errorf("after a client came and another went: %v", b.Addresses())
	}
	if err := errors.Join(second.Listen(ctx, one, address(2), address(3)), second.Settle(ctx)); err != nil {
		t.Fatal(err)
	}
	if b.of(address(1)) != 0 || b.of(address(2)) != inode || b.of(address(3)) != inode {
		t.Errorf("settled: %v", b.at)
	}
	stop()
	<-second.Done()
	serve(t, socket, known(b)) // in place of the socket that is left there
	third, err := dial(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Addresses()) != 2 {
		t.Errorf("after the server was restarted: %v", b.Addresses())
	}
	if err := third.Settle(ctx); err != nil || len(b.Addresses()) != 0 {
		t.Errorf("nothing was named: %v, %v", err, b.Addresses())
	}
}

func TestNoSteerer(t *testing.T) {
	decide := make(chan struct{})
	socket := filepath.Join(t.TempDir(), "s")
	stop := serve(t, socket, func(ctx context.Context) (Steerer, error) {
		select {
		case <-decide:
			return nil, errors.New("this kernel has no such programs")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	time.AfterFunc(20*time.Millisecond, func() { close(decide) })
	c, err := dial(t, socket)
	var off *OffError
	if !errors.As(err, &off) || !strings.Contains(off.Reason, "kernel") {
		t.Fatal(err)
	}
	one, _ := listener(t)
	if err := c.Listen(context.Background(), one, address(1)); err == nil {
		t.Error("it listens")
	}
	select {
	case <-c.Done():
		t.Error("the connection has ended")
	default:
	}
	stop()
	<-c.Done()
}

func TestOneAddressRefused(t *testing.T) {
	b := &book{at: map[netip.AddrPort]uint64{}, full: 2}
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, known(b))
	c, err := dial(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := listener(t)
	err = c.Listen(context.Background(), one, address(1), address(2), address(3))
	if err == nil || !strings.Contains(err.Error(), errFull.Error()) || errors.Is(err, ErrClosed) {
		t.Errorf("a full table: %v", err)
	}
	if err := c.Remove(context.Background(), address(1)); err != nil || len(b.Addresses()) != 1 {
		t.Errorf("%v, %v", err, b.Addresses())
	}
}

// TestNothingIsKept: a socket ends with who accepts from it, whoever else has heard of it.
func TestNothingIsKept(t *testing.T) {
	b := &book{at: map[netip.AddrPort]uint64{}}
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, known(b))
	c, err := dial(t, socket)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := c.Listen(context.Background(), f, address(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("somebody listens still: %v, %v", conn, err)
	}
}

// TestMalice: what no client of ours sends ends its connection, and leaves nothing open.
func TestMalice(t *testing.T) {
	b := &book{at: map[netip.AddrPort]uint64{}}
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, known(b))
	one, _ := listener(t)
	if _, err := dial(t, socket); err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	for name, packet := range map[string]struct {
		raw string
		fds int
	}{
		"no JSON":                {"hello", 1},
		"two descriptors":        {`{"op":"listen","addresses":["10.42.0.1:80"]}`, 2},
		"a hundred descriptors":  {`{"op":"listen","addresses":["10.42.0.1:80"]}`, 100},
		"no addresses":           {`{"op":"listen"}`, 1},
		"settling with some":     {`{"op":"settle","addresses":["10.42.0.1:80"]}`, 0},
		"another word":           {`{"op":"steal","addresses":["10.42.0.1:80"]}`, 0},
		"more than one packet":   {`{"op":"listen"` + strings.Repeat(" ", maxPacket), 1},
		"more than all adresses": {`{"op":"remove","addresses":[` + strings.Repeat(`"1.1.1.1:1",`, MaxAddresses) + `"1.1.1.1:1"]}`, 0},
	} {
		c, err := net.DialUnix(network, nil, &net.UnixAddr{Name: socket, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		fds := slices.Repeat([]int{int(one.Fd())}, packet.fds)
		_, _, err = c.WriteMsgUnix([]byte(packet.raw), unix.UnixRights(fds...), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
		buf := make([]byte, 1000)
		n, _ := c.Read(buf) // the greeting
		if n2, err := c.Read(buf[n:]); n2 > 0 && err == nil {
			t.Errorf("%s: answered %s", name, buf[n:n+n2])
		}
		_ = c.Close()
	}
	if len(b.Addresses()) > 0 {
		t.Errorf("somebody listens: %v", b.Addresses())
	}
	for deadline := time.Now().Add(60 * time.Second); openFiles(t) > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d files are open, %d before", openFiles(t), before)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestServerNeeds(t *testing.T) {
	if _, err := NewServer(ServerConfig{}); err == nil {
		t.Error("a server of nothing")
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(ServerConfig{Socket: path, Steerer: known(nil), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); err == nil {
		t.Error("it listens in place of a file")
	}
	if _, err := Dial(context.Background(), filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("connected to nowhere")
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"listen","addresses":["10.42.0.1:80","[fd42::1]:443"]}`))
	f.Add([]byte(`{"op":"settle"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := decodeRequest(raw)
		if err != nil {
			return
		}
		if len(r.Addresses) > MaxAddresses {
			t.Fatal("too many addresses")
		}
		for _, at := range r.Addresses {
			if !at.IsValid() || at.Port() == 0 {
				t.Fatalf("%s is no address", at)
			}
		}
	})
}
