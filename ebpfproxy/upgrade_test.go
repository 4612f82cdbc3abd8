package ebpfproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// agentEnv makes the test binary an agent of its own: cgroup, pin folder, backend, schema, separated by spaces.
const agentEnv = "PETREL_TEST_AGENT"

// runAgent opens the proxy and changes its table until it is killed.
func runAgent(args string) error {
	f := strings.Fields(args)
	backend := netip.MustParseAddrPort(f[2])
	p, err := New(Config{CgroupPath: f[0], PinDir: f[1], Sizes: smallSizes, Grace: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if p.schema, err = strconv.Atoi(f[3]); err != nil {
		return err
	}
	ctx := context.Background()
	if err := p.Open(ctx); err != nil {
		return err
	}
	b := Backend{Addr: backend.Addr(), Port: backend.Port()}
	for round := 0; ; round++ {
		// The service that clients use never lacks a backend; a second one comes and goes, and so do other services.
		table := []Service{clusterIP(agentService, TCP, b)}
		if round%2 == 1 {
			again := b
			again.Addr = netip.MustParseAddr("127.0.0.3")
			table[0].Backends = append(table[0].Backends, again)
		}
		for i := range rand.IntN(20) {
			table = append(table, clusterIP(fmt.Sprintf("10.97.0.%d:80", i+1), TCP, Backend{Addr: netip.MustParseAddr("127.0.0.9"), Port: 1}))
		}
		if err := p.Sync(ctx, table); err != nil {
			var full *FullError
			if !errors.As(err, &full) {
				return err
			}
		}
		if round == 0 {
			fmt.Println("ready")
		}
	}
}

const agentService = "10.96.0.1:80"

// TestAgentsComeAndGoUnderLoad kills agents at random points while they start and while they change the table, and has the
// next one be of another schema now and then; no client may notice.
func TestAgentsComeAndGoUnderLoad(t *testing.T) {
	a := newArena(t)
	dir := bpffs(t)
	one := a.serve("127.0.0.2:0")
	a.serve(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), one.addr.Port()).String())
	var kill func()
	start := func(schema int, wait bool) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), agentEnv+"="+strings.Join([]string{a.cgroup, dir, one.addr.String(), strconv.Itoa(schema)}, " "))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		kill = func() {
			cmd.Process.Kill()
			cmd.Wait()
		}
		if !wait {
			return
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			kill()
			t.Fatalf("the agent said %q: %v", line, err)
		}
	}
	start(1, true)
	t.Cleanup(func() { must(t, a.proxy(Config{PinDir: dir}).Remove()) })

	to := netip.MustParseAddrPort(agentService)
	var stop atomic.Bool
	var connects, failures atomic.Int64
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		for !stop.Load() {
			connects.Add(1)
			if _, err := a.ask(to); err != nil {
				failures.Add(1)
				t.Logf("connect: %v", err)
			}
		}
	}()
	const restarts = 8
	for i := range restarts {
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		kill()
		// One that is killed while it starts, and one that lives.
		start(1+rand.IntN(2), false)
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		kill()
		start(1+(i+1)/2%2, true) // the last one is of this schema
	}
	kill()
	stop.Store(true)
	<-loaded
	t.Logf("%d connects, %d restarts", connects.Load(), restarts)
	if failures.Load() > 0 || connects.Load() < 500 {
		t.Errorf("%d of %d connects failed", failures.Load(), connects.Load())
	}
	// What a killed agent left behind is in order for the next.
	p := a.openRaw(Config{PinDir: dir, Grace: time.Millisecond})
	defer p.Close()
	mustSync(t, p, clusterIP(agentService, TCP, one.backend()))
	eventually(t, func() bool { p.mu.RLock(); defer p.mu.RUnlock(); return len(p.leavers) == 0 })
	used := 0
	for _, b := range p.backends.at {
		if b.State != stateFree {
			used++
		}
	}
	if used != 1 || len(p.keys) != 1 {
		t.Errorf("%d backends and %d frontends are in the maps, want one of each", used, len(p.keys))
	}
}

// TestSchemaChange: the older programs serve until the first Sync of the newer; what is carried over stays.
func TestSchemaChange(t *testing.T) {
	sizes := smallSizes.maps()
	all := slices.Collect(maps.Keys(sizes))
	for _, tt := range []struct {
		name    string
		carried []string
	}{
		{"all is new", nil},
		{"sockets are carried over", []string{"petrel_sk", "petrel_aff", "petrel_udprev", "petrel_udpfwd"}},
		{"half of the table is carried over", []string{"petrel_svc", "petrel_sk"}},
		{"all is carried over", all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newArena(t)
			dir := filepath.Join(bpffs(t), "petrel")
			s := a.serve("127.0.0.2:0")
			svc := clusterIP("10.96.0.1:80", TCP, s.backend())
			old := a.openRaw(Config{PinDir: dir})
			mustSync(t, old, svc)
			stream := a.connected(unix.SOCK_STREAM, svc.at())
			oldGone := ownObjects(t, old)
			must(t, old.Close())

			p := a.proxy(Config{PinDir: dir})
			p.schema = schemaVersion + 1
			p.carried = map[int][]string{schemaVersion: tt.carried}
			must(t, p.Open(t.Context()))
			defer p.Remove()
			if !p.handover {
				t.Error("it does not wait for a sync")
			}
			a.mustAsk(svc.at())
			mustSync(t, p, svc)
			a.mustAsk(svc.at())
			if slices.Contains(tt.carried, "petrel_sk") {
				if got := stream.peer(); got != svc.at() {
					t.Errorf("the peer of an open stream is %s", got)
				}
			}
			list, err := os.ReadDir(dir)
			if err != nil || len(list) != 1 || list[0].Name() != "v2" {
				t.Errorf("pins are %v, %v", list, err)
			}
			if tt.carried == nil {
				oldGone()
			}
			stream.close()
			must(t, p.Remove())
		})
	}
}

// TestSizesChange: a table that grows takes its content along; one that cannot shrink says so.
func TestSizesChange(t *testing.T) {
	a := newArena(t)
	dir := bpffs(t)
	s := a.serve("127.0.0.2:0")
	list := many(20, 1, s)
	p := a.openRaw(Config{PinDir: dir})
	mustSync(t, p, list...)
	must(t, p.Close())
	grown := Sizes{Frontends: 2000, Backends: 5000, Slots: 20000, Maglev: 251, Affinity: 2000, Datagrams: 2000, SourceRanges: 300, NodeAddresses: 20}
	p = a.openRaw(Config{PinDir: dir, Sizes: grown})
	if p.handover {
		t.Error("it waits for a sync, though all is there")
	}
	for _, svc := range list {
		a.mustAsk(svc.at())
	}
	must(t, p.Close())
	shrunk := grown
	shrunk.Frontends = 10
	p = a.proxy(Config{PinDir: dir, Sizes: shrunk})
	if err := p.Open(t.Context()); err == nil || errors.Is(err, ErrUnsupported) {
		t.Errorf("20 services in a table of 10: %v", err)
	}
	a.mustAsk(list[0].at()) // and what is there serves on
	must(t, p.Remove())
}

// TestLostPinsAreMadeAnew: a table without one of its maps is worth nothing; the programs serve on until a Sync.
func TestLostPinsAreMadeAnew(t *testing.T) {
	for _, lost := range []string{"maps/petrel_slot", "maps/petrel_svc", "maps/petrel_sk", "links/petrel_connect4"} {
		t.Run(lost, func(t *testing.T) {
			a := newArena(t)
			dir := bpffs(t)
			s := a.serve("127.0.0.2:0")
			svc := clusterIP("10.96.0.1:80", TCP, s.backend())
			p := a.openRaw(Config{PinDir: dir})
			mustSync(t, p, svc)
			must(t, p.Close())
			must(t, os.Remove(filepath.Join(dir, "v1", lost)))
			p = a.open(Config{PinDir: dir})
			if !strings.HasPrefix(lost, "links") {
				a.mustAsk(svc.at())
			}
			mustSync(t, p, svc)
			a.mustAsk(svc.at())
		})
	}
}

// TestPinsOfAnotherLayout are of no use: what stands in their place is made anew, and the older programs serve until a Sync.
func TestPinsOfAnotherLayout(t *testing.T) {
	for _, name := range []string{"petrel_svc", "petrel_backend", "petrel_aff"} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			dir := bpffs(t)
			s := a.serve("127.0.0.2:0")
			svc := clusterIP("10.96.0.1:80", TCP, s.backend())
			p := a.openRaw(Config{PinDir: dir})
			mustSync(t, p, svc)
			must(t, p.Close())
			other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 8})
			must(t, err)
			defer other.Close()
			path := filepath.Join(dir, "v1", "maps", name)
			must(t, os.Remove(path))
			must(t, other.Pin(path))
			p = a.open(Config{PinDir: dir})
			a.mustAsk(svc.at())
			mustSync(t, p, svc)
			a.mustAsk(svc.at())
		})
	}
}

// TestTablesThatContradictThemselves are made anew as well.
func TestTablesThatContradictThemselves(t *testing.T) {
	for name, spoil := range map[string]func(*Proxy){
		"a backend in no state": func(p *Proxy) { p.backends.at[1].State = 99 },
		"backend 0":             func(p *Proxy) { p.backends.at[0].State = stateActive },
		"slots beyond the end": func(p *Proxy) {
			must(t, p.svc.Put(keyOf(Frontend{Addr: netip.MustParseAddr("10.96.0.9"), Port: 1, Protocol: TCP}, Internal), bpf.SockSvc{Id: 9, Base: 1 << 30, Count: 1}))
		},
		"slots of two": func(p *Proxy) {
			e := p.byID[1]
			must(t, p.svc.Put(keyOf(Frontend{Addr: netip.MustParseAddr("10.96.0.9"), Port: 1, Protocol: TCP}, Internal), bpf.SockSvc{Id: 9, Base: e.value.Base, Count: 1}))
		},
		"an id beyond the end": func(p *Proxy) {
			must(t, p.svc.Put(keyOf(Frontend{Addr: netip.MustParseAddr("10.96.0.9"), Port: 1, Protocol: TCP}, Internal), bpf.SockSvc{Id: 1 << 30}))
		},
		"a range of no length": func(p *Proxy) { must(t, p.srcrange.Put(bpf.SockRangeKey{Prefixlen: 8}, uint32(1))) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t)
			dir := bpffs(t)
			s := a.serve("127.0.0.2:0")
			svc := clusterIP("10.96.0.1:80", TCP, s.backend())
			p := a.openRaw(Config{PinDir: dir})
			mustSync(t, p, svc)
			spoil(p)
			must(t, p.Close())
			p = a.open(Config{PinDir: dir})
			a.mustAsk(svc.at())
			mustSync(t, p, svc)
			a.mustAsk(svc.at())
			if n := len(p.Stats()); n != 1 {
				t.Errorf("%d services are there", n)
			}
		})
	}
}

// TestCgroupThatCameAgain: a link to a cgroup that was removed meanwhile is made anew.
func TestCgroupThatCameAgain(t *testing.T) {
	first, second := newArena(t), newArena(t)
	dir := bpffs(t)
	p := first.openRaw(Config{PinDir: dir})
	svc := clusterIP("10.96.0.1:80", TCP)
	mustSync(t, p, svc)
	must(t, p.Close())
	second.open(Config{PinDir: dir})
	if _, err := second.ask(svc.at()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the new cgroup's sockets: %v", err)
	}
	if _, err := first.ask(svc.at()); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("the old cgroup's sockets: %v", err)
	}
}
