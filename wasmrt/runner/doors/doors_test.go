package doors

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func keeper(t *testing.T) *Keeper {
	t.Helper()
	k, err := NewKeeper()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- k.Run() }()
	t.Cleanup(func() {
		if err := errors.Join(k.Close(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return k
}

func (k *Keeper) must(t *testing.T, addr string, knock func()) *Door {
	t.Helper()
	d, err := k.Listen(netip.MustParseAddrPort(addr), knock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// echo answers n connections with a word.
func echo(t *testing.T, l net.Listener, n int) {
	t.Helper()
	for range n {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintln(c, "hello")
		_ = c.Close()
	}
}

func ask(t *testing.T, addr string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 60*time.Second)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "hello\n" {
		t.Errorf("%s answers %q, %v", addr, line, err)
	}
}

func TestKnockIsToldOnce(t *testing.T) {
	k := keeper(t)
	var knocks atomic.Int32
	heard := make(chan struct{}, 10)
	d := k.must(t, "127.42.150.1:8080", func() { knocks.Add(1); heard <- struct{}{} })
	first, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	time.Sleep(20 * time.Millisecond)
	if n := knocks.Load(); n != 0 {
		t.Errorf("%d knocks before anybody watched", n)
	}
	if err := d.Watch(); err != nil {
		t.Fatal(err)
	}
	<-heard
	second, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	time.Sleep(20 * time.Millisecond)
	if n := knocks.Load(); n != 1 {
		t.Errorf("%d knocks, want one", n)
	}
	// Both wait still.
	l, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l, 2)
	if err := d.Watch(); err == nil {
		t.Error("an open door is watched")
	}
	if _, err := d.Open(); err == nil {
		t.Error("it was opened twice")
	}
	if err := d.Shut(); err != nil || d.IsOpen() {
		t.Error(err)
	}
	if err := d.Shut(); err != nil {
		t.Error("again:", err)
	}
	for _, c := range []net.Conn{first, second} {
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "hello\n" {
			t.Errorf("answer %q, %v", line, err)
		}
	}
	if err := d.Watch(); err != nil {
		t.Fatal(err)
	}
	go func() {
		<-heard
		l, err := d.Open()
		if err != nil {
			t.Error(err)
			return
		}
		echo(t, l, 1)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	ask(t, d.Addr().String())
}

// TestNoneIsLost opens and shuts doors all the time while clients come.
func TestNoneIsLost(t *testing.T) {
	k := keeper(t)
	var d *Door
	var awake sync.WaitGroup
	ready := make(chan struct{})
	d = k.must(t, "127.42.150.2:8080", func() {
		<-ready
		awake.Add(1)
		defer awake.Done()
		l, err := d.Open()
		if err != nil {
			t.Error(err)
			return
		}
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(3 * time.Millisecond))
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			fmt.Fprintln(c, "hello")
			_ = c.Close()
		}
		if err := errors.Join(d.Shut(), d.Watch()); err != nil {
			t.Error(err)
		}
	})
	close(ready)
	if err := d.Watch(); err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 100 {
				ask(t, d.Addr().String())
			}
		})
	}
	clients.Wait()
	time.Sleep(20 * time.Millisecond)
	awake.Wait()
}

func TestListenErrors(t *testing.T) {
	k := keeper(t)
	d := k.must(t, "127.42.150.3:8080", func() {})
	if _, err := k.Listen(d.Addr(), func() {}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
	if _, err := k.Listen(netip.MustParseAddrPort("192.0.2.1:8080"), func() {}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a foreign address: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error("again:", err)
	}
	if _, err := d.Open(); !errors.Is(err, ErrClosed) {
		t.Errorf("open a closed door: %v", err)
	}
	if err := d.Watch(); !errors.Is(err, ErrClosed) {
		t.Errorf("watch a closed door: %v", err)
	}
	k.must(t, "127.42.150.3:8080", func() {}) // the port is free again
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		k.must(t, "[::1]:38080", func() {})
	}
	closed, err := NewKeeper()
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Error(err)
	}
	if _, err := closed.Listen(netip.MustParseAddrPort("127.42.150.4:8080"), func() {}); !errors.Is(err, ErrClosed) {
		t.Errorf("listen with a closed keeper: %v", err)
	}
}

// TestThousandDoors: what waiting costs does not grow with goroutines.
func TestThousandDoors(t *testing.T) {
	k := keeper(t)
	const n = 1000
	before := runtime.NumGoroutine()
	var knocked [n]atomic.Int32
	for i := range n {
		d := k.must(t, fmt.Sprintf("127.42.%d.%d:8080", 151+i/250, i%250+1), func() { knocked[i].Add(1) })
		if err := d.Watch(); err != nil {
			t.Fatal(err)
		}
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
	for i := 0; i < n; i += 100 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.42.%d.%d:8080", 151+i/250, i%250+1))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for range 12_000 {
		heard := 0
		var wrong []string
		for i := range n {
			if c := knocked[i].Load(); c == 1 && i%100 == 0 {
				heard++
			} else if c != 0 {
				wrong = append(wrong, fmt.Sprint(i, ":", c))
			}
		}
		if len(wrong) > 0 {
			t.Fatalf("knocks at %s", strings.Join(wrong, " "))
		}
		if heard == n/100 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("not all knocks were told")
}
