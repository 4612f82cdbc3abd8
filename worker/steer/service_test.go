package steer

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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/steering"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a network namespace, a control group and a bpffs of a test's own.
type place struct {
	t                  *testing.T
	netns, cgroup, pin string
	calls              chan func()
}

func newPlace(t *testing.T) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: programs cannot be loaded")
	}
	root := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	p := &place{t: t, cgroup: filepath.Join(root, fmt.Sprintf("petrel-steer-%d-%d", os.Getpid(), rand.Uint32())), pin: t.TempDir(), calls: make(chan func())}
	p.must(os.Mkdir(p.cgroup, 0o755))
	t.Cleanup(func() { p.must(os.Remove(p.cgroup)) })
	p.must(unix.Mount("bpf", p.pin, "bpf", 0, "mode=0700"))
	t.Cleanup(func() { p.must(unix.Unmount(p.pin, 0)) })
	ready := make(chan error)
	go p.thread(ready)
	p.must(<-ready)
	t.Cleanup(func() { close(p.calls) })
	return p
}

// must skips by name what a machine does not let anybody do.
func (p *place) must(err error) {
	p.t.Helper()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
		p.t.Skipf("this machine does not let the test run: %v", err)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// thread runs calls inside; it is never unlocked, so that it ends with them.
func (p *place) thread(ready chan<- error) {
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = loopbackUp()
	}
	p.netns = fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	ready <- err
	for f := range p.calls {
		f()
	}
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

func (p *place) in(f func()) {
	done := make(chan struct{})
	p.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// listen makes a listener inside that greets with its name and the address that was asked for.
func (p *place) listen(name string) (*os.File, func()) {
	p.t.Helper()
	var l *net.TCPListener
	var err error
	p.in(func() { l, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}) })
	p.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", name, c.LocalAddr())
			_ = c.Close()
		}
	}()
	file, err := l.File()
	p.must(err)
	stop := sync.OnceFunc(func() {
		_ = file.Close()
		_ = l.Close()
		<-done
	})
	p.t.Cleanup(stop)
	return file, stop
}

func (p *place) ask(at netip.AddrPort) (answer string, err error) {
	p.in(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp4", at.String(), 60*time.Second); err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(60 * time.Second))
		var raw []byte
		raw, err = io.ReadAll(c)
		answer = string(raw)
	})
	return answer, err
}

// node is the part of a worker that steers.
type node struct {
	*Service
	stop func()
}

func (p *place) start(socket string, change func(*Config)) *node {
	p.t.Helper()
	decided := make(chan struct{})
	cfg := Config{Socket: socket, Pinned: true, NetNS: p.netns, Decided: decided, Logger: slog.New(slog.DiscardHandler)}
	change(&cfg)
	s, err := New(cfg)
	p.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	proxy, err := ebpfproxy.New(ebpfproxy.Config{CgroupPath: p.cgroup, PinDir: p.pin, Logger: cfg.Logger})
	p.must(err)
	p.must(proxy.Open(ctx))
	closeTable, err := s.Opened(ctx, proxy)
	p.must(err)
	close(decided)
	n := &node{Service: s}
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, closeTable(), proxy.Close()); err != nil {
			p.t.Error(err)
		}
	})
	p.t.Cleanup(n.stop)
	return n
}

// remove takes away what is pinned.
func (p *place) remove() {
	proxy, err := ebpfproxy.New(ebpfproxy.Config{CgroupPath: p.cgroup, PinDir: p.pin, Logger: slog.New(slog.DiscardHandler)})
	p.must(err)
	p.must(proxy.Remove())
}

func dial(t *testing.T, socket string) (*steering.Client, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		c, err := steering.Dial(ctx, socket)
		var off *steering.OffError
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

// TestPodsAreSteered goes through a worker's and a runner's restarts: what listens is reached all the time.
func TestPodsAreSteered(t *testing.T) {
	p := newPlace(t)
	defer p.remove()
	socket := filepath.Join(t.TempDir(), "s")
	first := p.start(socket, func(*Config) {})
	client, err := dial(t, socket)
	p.must(err)
	pods := []netip.AddrPort{netip.MustParseAddrPort("127.42.0.1:8080"), netip.MustParseAddrPort("127.42.0.2:8080"), netip.MustParseAddrPort("127.42.0.2:9090")}
	one, endOne := p.listen("one")
	p.must(client.Listen(t.Context(), one, pods...))
	want := func(name string, pods ...netip.AddrPort) {
		t.Helper()
		for _, pod := range pods {
			if got, err := p.ask(pod); got != name+" "+pod.String() || err != nil {
				t.Errorf("%s: %q, %v", pod, got, err)
			}
		}
	}
	want("one", pods...)
	first.stop()
	<-client.Done()
	want("one", pods...) // nobody is there, and all goes on

	second := p.start(socket, func(*Config) {})
	client, err = dial(t, socket)
	p.must(err)
	want("one", pods...)
	p.must(client.Listen(t.Context(), one, pods[:2]...))
	p.must(client.Settle(t.Context()))
	want("one", pods[:2]...)
	if got, err := p.ask(pods[2]); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("what nobody named: %q, %v", got, err)
	}
	two, _ := p.listen("two")
	p.must(client.Listen(t.Context(), two, pods[0]))
	want("two", pods[0])
	want("one", pods[1])
	endOne()
	if got, err := p.ask(pods[1]); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a listener that has gone: %q, %v", got, err)
	}
	p.must(client.Remove(t.Context(), pods[1]))
	if text := metricsOf(t, second); !slices.Contains(text, "petrel_steer_addresses 1") || !slices.Contains(text, "petrel_steer_connections_total absent 1") {
		t.Errorf("metrics: %v", text)
	}
}

// metricsOf answers lines of names, labels and values.
func metricsOf(t *testing.T, s prometheus.Collector) []string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		for _, m := range f.Metric {
			line := []string{f.GetName()}
			for _, l := range m.Label {
				line = append(line, l.GetValue())
			}
			lines = append(lines, strings.Join(append(line, fmt.Sprint(m.GetCounter().GetValue()+m.GetGauge().GetValue())), " "))
		}
	}
	return lines
}

// TestNotSteered: the runtime is told when its pods have to listen for themselves.
func TestNotSteered(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for name, tt := range map[string]struct {
		opened bool
		want   string
	}{"no data path": {false, errNoPrograms.Error()}, "no pins": {true, errNotPinned.Error()}} {
		t.Run(name, func(t *testing.T) {
			decided := make(chan struct{})
			s, err := New(Config{Socket: socket, Decided: decided, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			if tt.opened {
				end, err := s.Opened(t.Context(), nil)
				if err != nil || end() != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			time.AfterFunc(10*time.Millisecond, func() { close(decided) })
			_, err = dial(t, socket)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("told %v, want %q", err, tt.want)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if lines := metricsOf(t, s); len(lines) > 0 {
				t.Errorf("metrics: %v", lines)
			}
		})
	}
}

func TestWithoutSocket(t *testing.T) {
	s, err := New(Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	end, err := s.Opened(t.Context(), nil)
	if err := errors.Join(err, end(), s.Run(t.Context())); err != nil {
		t.Error(err)
	}
	for _, cfg := range []Config{{}, {Socket: "s", Logger: slog.New(slog.DiscardHandler)}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
