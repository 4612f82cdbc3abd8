package ebpfproxy

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no cgroup":          {},
		"a relative cgroup":  {CgroupPath: "a"},
		"a relative pin dir": {CgroupPath: "/a", PinDir: "b"},
		"a negative grace":   {CgroupPath: "/a", Grace: -1},
		"a negative size":    {CgroupPath: "/a", Sizes: Sizes{Slots: -1}},
		"a size too large":   {CgroupPath: "/a", Sizes: Sizes{Backends: maxEntries + 1}},
		"no prime":           {CgroupPath: "/a", Sizes: Sizes{Maglev: 9}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestClosedProxy(t *testing.T) {
	p, err := New(Config{CgroupPath: "/nowhere", PinDir: filepath.Join(t.TempDir(), "pins")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Sync(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("sync: %v", err)
	}
	if err := p.Update(t.Context(), nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if err := p.SetNodeAddresses(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("node addresses: %v", err)
	}
	if p.Stats() != nil {
		t.Error("there are counters")
	}
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := p.Remove(); err != nil {
		t.Errorf("remove: %v", err)
	}
}

func TestUnsupported(t *testing.T) {
	a := newArena(t)
	for name, spoil := range map[string]func(*Proxy){
		"a folder that is no cgroup": func(p *Proxy) { p.cfg.CgroupPath = t.TempDir() },
		"pins on no bpffs":           func(p *Proxy) { p.cfg.PinDir = t.TempDir() },
	} {
		p := a.proxy(Config{})
		spoil(p)
		if err := p.Open(t.Context()); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		if err := p.Remove(); err != nil {
			t.Errorf("%s: remove: %v", name, err)
		}
	}
}

func TestWithoutPinsNothingStays(t *testing.T) {
	a := newArena(t)
	p := a.openRaw(Config{})
	s := a.serve("127.0.0.2:0")
	svc := clusterIP("10.96.0.1:80", TCP, s.backend())
	mustSync(t, p, svc)
	if err := p.Open(t.Context()); err == nil {
		t.Error("it opens twice")
	}
	gone := ownObjects(t, p)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	gone()
	if _, err := a.ask(svc.at()); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("a closed proxy serves: %v", err)
	}
	must(t, p.Open(t.Context())) // and may be opened again
	mustSync(t, p, svc)
	a.mustAsk(svc.at())
	must(t, p.Remove())
}

// TestRestart: what is pinned serves between two processes, and the second one finds all of it.
func TestRestart(t *testing.T) {
	a := newArena(t)
	dir := filepath.Join(bpffs(t), "petrel")
	cfg := Config{PinDir: dir, Grace: time.Second}
	one, two := a.serve("127.0.0.2:0"), a.serve("127.0.0.3:0")
	svc := clusterIP("10.96.0.1:80", TCP, one.backend(), two.backend())
	leaving := clusterIP("10.96.0.2:80", TCP, a.serve("127.0.0.4:0").backend())
	port := Service{Frontend: Frontend{Port: 30080, Protocol: TCP, Scope: External}, Backends: []Backend{two.backend()},
		SourceRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	node := netip.MustParseAddr("192.0.2.1")

	p := a.openRaw(cfg)
	mustSync(t, p, svc, leaving, port)
	must(t, p.SetNodeAddresses([]netip.Addr{node}))
	stream := a.connected(unix.SOCK_STREAM, leaving.at())
	mustSync(t, p, svc, port)
	ids := map[Frontend]uint32{}
	for f, e := range p.entries {
		ids[f] = e.id
	}
	must(t, p.Close())

	a.mustAsk(svc.at())
	if got := a.mustAsk(netip.AddrPortFrom(node, 30080)); got != two.addr.String() {
		t.Errorf("the node port leads to %s", got)
	}
	if stream.peer() != leaving.at() {
		t.Error("an open stream sees its backend")
	}

	p = a.openRaw(cfg)
	a.mustAsk(svc.at())
	if n := p.Stats(); len(n) != 2 || n[0].Connections+n[1].Connections != 3 {
		t.Errorf("the counters are %+v", n)
	}
	for f, e := range p.entries {
		if ids[f] != e.id || e.dirty {
			t.Errorf("%s had id %d and has %d", f, ids[f], e.id)
		}
	}
	eventually(t, stream.ended) // its grace goes on in the second process
	mustSync(t, p, svc, port)
	for f, e := range p.entries {
		if ids[f] != e.id {
			t.Errorf("%s had id %d and has %d after a sync", f, ids[f], e.id)
		}
	}
	mustSync(t, p, clusterIP("10.96.0.1:80", TCP, two.backend()))
	if got := a.mustAsk(svc.at()); got != two.addr.String() {
		t.Errorf("reached %s", got)
	}

	gone := ownObjects(t, p)
	must(t, p.Remove())
	gone()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin folder stays: %v", err)
	}
	if _, err := a.ask(svc.at()); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("a removed proxy serves: %v", err)
	}
}

// TestRemoveOfWhatAnotherPinned needs no open proxy.
func TestRemoveOfWhatAnotherPinned(t *testing.T) {
	a := newArena(t)
	dir := filepath.Join(bpffs(t), "petrel")
	p := a.openRaw(Config{PinDir: dir})
	s := a.serve("127.0.0.2:0")
	svc := clusterIP("10.96.0.1:80", TCP, s.backend())
	mustSync(t, p, svc)
	gone := ownObjects(t, p)
	must(t, p.Close())
	a.mustAsk(svc.at())
	must(t, a.proxy(Config{PinDir: dir}).Remove())
	gone()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin folder stays: %v", err)
	}
	if _, err := a.ask(svc.at()); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("a removed proxy serves: %v", err)
	}
}

// TestOpenIsCanceled leaves nothing.
func TestOpenIsCanceled(t *testing.T) {
	a := newArena(t)
	dir := filepath.Join(bpffs(t), "petrel")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := a.proxy(Config{PinDir: dir})
	if err := p.Open(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v", err)
	}
	must(t, p.Remove())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin folder stays: %v", err)
	}
}

// ownObjects notes the proxy's programs and maps; the answer checks that the kernel holds none of them any more.
func ownObjects(t *testing.T, p *Proxy) (gone func()) {
	t.Helper()
	var programs []ebpf.ProgramID
	var maps []ebpf.MapID
	for _, c := range []*ebpf.Collection{p.programs, p.reaper.programs} {
		for _, prog := range c.Programs {
			info, err := prog.Info()
			must(t, err)
			id, _ := info.ID()
			programs = append(programs, id)
		}
	}
	for _, m := range p.shared {
		info, err := m.Info()
		must(t, err)
		id, _ := info.ID()
		maps = append(maps, id)
	}
	if len(programs) < 10 || len(maps) < 11 {
		t.Fatalf("only %d programs and %d maps are known", len(programs), len(maps))
	}
	return func() {
		t.Helper()
		eventually(t, func() bool { // the kernel frees them after a grace period of its own
			left := 0
			for _, id := range programs {
				if prog, err := ebpf.NewProgramFromID(id); err == nil {
					prog.Close()
					left++
				}
			}
			for _, id := range maps {
				if m, err := ebpf.NewMapFromID(id); err == nil {
					m.Close()
					left++
				}
			}
			return left == 0
		})
	}
}
