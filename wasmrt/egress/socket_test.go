package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// counting makes sockets of this process's own, and counts them by kind.
type counting struct{ streams, datagrams atomic.Int32 }

func (c *counting) socket(_ context.Context, family, kind int) (*os.File, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if kind == unix.SOCK_STREAM {
		c.streams.Add(1)
	} else {
		c.datagrams.Add(1)
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

func TestWithSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	plain, err := Parse([]string{"tcp:127.0.0.0/8:*", "udp:127.0.0.0/8:*"})
	if err != nil {
		t.Fatal(err)
	}
	var made counting
	p := plain.WithSockets(made.socket)
	c, err := p.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(c); string(raw) != "hello" || err != nil || c.RemoteAddr().String() != l.Addr().String() {
		t.Errorf("%q from %v, %v", raw, c.RemoteAddr(), err)
	}
	_ = c.Close()
	u, err := p.DialContext(t.Context(), "udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	_ = u.Close()
	if made.streams.Load() != 1 || made.datagrams.Load() != 1 {
		t.Errorf("%d streams and %d datagram sockets were made", made.streams.Load(), made.datagrams.Load())
	}
	at := l.Addr().String()
	_ = l.Close()
	if _, err := p.DialContext(t.Context(), "tcp", at); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	var denied *DeniedError
	if _, err := p.DialContext(t.Context(), "tcp", "192.0.2.1:80"); !errors.As(err, &denied) {
		t.Errorf("what is not granted: %v", err)
	}
	if plain.sockets != nil {
		t.Error("the policy that it was made of has changed")
	}
}

// TestWithSocketsThatAreLate: whoever makes sockets may be away for longer than anybody waits.
func TestWithSocketsThatAreLate(t *testing.T) {
	p, err := Parse([]string{"tcp:127.0.0.1:80"})
	if err != nil {
		t.Fatal(err)
	}
	p = p.WithSockets(func(ctx context.Context, _, _ int) (*os.File, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.DialContext(ctx, "tcp", "127.0.0.1:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestConnectEndsWithItsContext: a peer that never answers holds up nobody.
func TestConnectEndsWithItsContext(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// Nobody accepts, so that the queue fills up and those behind wait.
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	var made counting
	for range 8 {
		file, err := made.socket(t.Context(), unix.AF_INET, unix.SOCK_STREAM)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err = connectTo(ctx, file, at)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("every connection was made though nobody accepts")
}
