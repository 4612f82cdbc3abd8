package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// atFront answers params of a container at the runner's shared socket itself: nothing steers here.
func (w *world) atFront(wasm []byte) control.CreateParams {
	w.t.Helper()
	file, err := w.runner.front.Listener("tcp4")
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	p := w.params(wasm)
	p.Address, p.Ports = at.Addr().String(), []uint16{at.Port()}
	return p
}

func serverOf(c *container) *httpServer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.work.(*httpServer)
}

func (p *world) startShared(id string) (control.StartResult, []string) {
	p.t.Helper()
	var out control.StartResult
	files, err := p.Exchange(p.t.Context(), control.MethodStart, control.StartParams{ID: id, Shared: true}, nil, &out)
	if err != nil {
		p.t.Fatal(err)
	}
	defer control.CloseFiles(files)
	var at []string
	for _, f := range files {
		l, err := net.FileListener(f)
		if err != nil {
			p.t.Fatal(err)
		}
		at = append(at, l.Addr().String())
		_ = l.Close()
	}
	return out, at
}

// wasReset says whether the other side has thrown the connection away, as whoever reads or whoever writes is told first.
func wasReset(err error) bool { return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) }

func TestSharedSocket(t *testing.T) {
	w := newWorld(t)
	p := w.atFront(wasmtest.Serve("hello", "", 0))
	w.must(control.MethodCreate, p)
	at := netip.AddrPortFrom(netip.MustParseAddr(p.Address), p.Ports[0])
	if _, _, err := get(t.Context(), url(p)); !wasReset(err) {
		t.Errorf("before it was started: %v", err)
	}
	started, sockets := w.startShared(p.ID)
	if started.State != control.StateRunning || len(started.Addresses) != 1 || started.Addresses[0] != at {
		t.Errorf("started: %+v", started)
	}
	if len(started.Listeners) != 1 || started.Listeners[0] != "tcp4" || len(sockets) != 1 || sockets[0] != at.String() {
		t.Errorf("listeners %v at %v", started.Listeners, sockets)
	}
	for range 2 {
		if code, body, err := get(t.Context(), url(p)); err != nil || code != 200 || body != "hello" {
			t.Errorf("%d %q, %v", code, body, err)
		}
	}
	other := w.params(wasmtest.Serve("other", "", 0))
	other.Address, other.Ports = p.Address, p.Ports
	w.must(control.MethodCreate, other)
	if _, err := w.do(control.MethodStart, control.StartParams{ID: other.ID, Shared: true}); err == nil {
		t.Error("two containers listen at one address")
	}
	w.must(control.MethodStop, control.StopParams{ID: p.ID, Grace: 5 * time.Second})
	if _, _, err := get(t.Context(), url(p)); !wasReset(err) {
		t.Errorf("after its end: %v", err)
	}
	third := w.params(wasmtest.Serve("third", "", 0)) // its address is free
	third.Address, third.Ports = p.Address, p.Ports
	w.must(control.MethodCreate, third)
	w.startShared(third.ID)
	if _, body, err := get(t.Context(), url(p)); err != nil || body != "third" {
		t.Errorf("%q, %v", body, err)
	}
}

// TestSharedAreListed: a supervisor that comes anew learns who is to be steered where.
func TestSharedAreListed(t *testing.T) {
	w := newWorld(t)
	wasm := wasmtest.Serve("hello", "", 0)
	want := map[string]string{}
	for i := range 5 {
		p := w.params(wasm)
		w.must(control.MethodCreate, p)
		if i < 3 {
			w.startShared(p.ID)
			want[p.ID] = fmt.Sprintf("[%s:8080]", p.Address)
		} else if i == 3 {
			w.must(control.MethodStart, control.StartParams{ID: p.ID})
		}
	}
	var out control.SharedResult
	files, err := w.Exchange(t.Context(), control.MethodShared, control.ListParams{}, nil, &out)
	if err != nil {
		t.Fatal(err)
	}
	control.CloseFiles(files)
	if len(files) != 1 || len(out.Listeners) != 1 || out.More || len(out.Containers) != len(want) {
		t.Errorf("%d files, %+v", len(files), out)
	}
	for _, c := range out.Containers {
		if fmt.Sprint(c.Addresses) != want[c.ID] {
			t.Errorf("%s listens at %v", c.ID, c.Addresses)
		}
	}
}

// TestSharedListensToo: when nobody steers any more, it has sockets of its own.
func TestSharedListensToo(t *testing.T) {
	for _, asleep := range []bool{true, false} {
		t.Run(fmt.Sprint("asleep ", asleep), func(t *testing.T) {
			w := newWorld(t)
			p := w.params(wasmtest.Serve("hello", "", 0))
			w.must(control.MethodCreate, p)
			w.startShared(p.ID)
			if _, _, err := get(t.Context(), url(p)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("nobody steers: %v", err)
			}
			if !asleep {
				c, err := w.runner.find(p.ID)
				if err != nil {
					t.Fatal(err)
				}
				serverOf(c).wake()
			}
			for range 2 {
				if err := w.Call(t.Context(), control.MethodListen, control.Target{ID: p.ID}, nil); err != nil {
					t.Fatal(err)
				}
				if _, body, err := get(t.Context(), url(p)); err != nil || body != "hello" {
					t.Errorf("%q, %v", body, err)
				}
			}
			w.must(control.MethodStop, control.StopParams{ID: p.ID, Grace: time.Second})
			if _, _, err := get(t.Context(), url(p)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("after its end: %v", err)
			}
		})
	}
}

// TestSharedStopRefusesNobody: whoever was in the queue when the container was told to stop is answered.
func TestSharedStopRefusesNobody(t *testing.T) {
	const clients = 40
	w := newWorld(t)
	p := w.atFront(wasmtest.Serve("hello", "", 0))
	w.must(control.MethodCreate, p)
	w.startShared(p.ID)
	var conns []net.Conn
	for range clients {
		c, err := net.Dial("tcp", net.JoinHostPort(p.Address, strconv.Itoa(int(p.Ports[0]))))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.must(control.MethodStop, control.StopParams{ID: p.ID, Grace: 20 * time.Second})
	}()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(60 * time.Second))
			if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
				t.Error(err)
				return
			}
			buf := make([]byte, 1000)
			if n, err := c.Read(buf); n == 0 {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	<-stopped
}

// TestSharedUnderLoad: while it sleeps and wakes, nobody is refused.
func TestSharedUnderLoad(t *testing.T) {
	w := newWorld(t)
	p := w.atFront(wasmtest.Serve("hello", "", 0))
	w.must(control.MethodCreate, p)
	w.startShared(p.ID)
	c, err := w.runner.find(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	server := serverOf(c)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			server.rest(time.Now(), 0)
		}
	})
	for range 200 {
		if _, body, err := get(t.Context(), url(p)); err != nil || body != "hello" {
			t.Fatalf("%q, %v", body, err)
		}
	}
	cancel()
	wg.Wait()
}
