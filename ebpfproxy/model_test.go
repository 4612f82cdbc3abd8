package ebpfproxy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// rig is a table in maps of its own that no program reads.
type rig struct {
	*tables
	maps   map[string]*ebpf.Map
	frozen *ebpf.Map // refuses every write
	now    time.Time
}

var modelSizes = Sizes{Frontends: 48, Backends: 160, Slots: 512, Maglev: 7, Affinity: 1, Datagrams: 1, SourceRanges: 64, NodeAddresses: 1}

func newRig(t testing.TB) *rig {
	t.Helper()
	needRoot(t)
	spec, err := bpf.LoadSock()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{maps: map[string]*ebpf.Map{}, now: time.Unix(1000, 0)}
	t.Cleanup(func() {
		if r.tables != nil {
			r.tables.close()
		}
		for _, m := range r.maps {
			m.Close()
		}
	})
	for name, size := range modelSizes.maps() {
		ms := spec.Maps[name].Copy()
		ms.MaxEntries = uint32(size)
		m, err := ebpf.NewMap(ms)
		if err != nil {
			skipUnsupported(t, err)
		}
		r.maps[name] = m
	}
	frozen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: r.maps["petrel_svc"].KeySize(), ValueSize: r.maps["petrel_svc"].ValueSize(), MaxEntries: 8})
	must(t, err)
	t.Cleanup(func() { frozen.Close() })
	must(t, frozen.Freeze())
	r.frozen = frozen
	r.reopen(t)
	return r
}

// twice does something first while the kernel takes no frontend, and then once more: what failed must be made good.
func (r *rig) twice(t testing.TB, fault bool, do func() error) {
	t.Helper()
	if fault {
		r.svc = r.frozen
		var full *FullError
		if err := do(); errors.As(err, &full) || errors.Is(err, ErrInvalid) {
			t.Errorf("a refused write is told as %v", err)
		}
		r.svc = r.maps["petrel_svc"]
	}
	must(t, do())
}

// reopen reads the maps as a new process does.
func (r *rig) reopen(t testing.TB) {
	t.Helper()
	if r.tables != nil {
		if err := r.tables.close(); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if r.tables, err = openTables(r.maps, modelSizes, func() time.Time { return r.now }); err != nil {
		t.Fatal(err)
	}
}

// bury frees what left, as the reaper does.
func (r *rig) bury() {
	for id, l := range maps.Clone(r.leavers) {
		r.free(id, l, r.now)
	}
}

// dump tells what clients would see, read from the kernel's maps alone.
func (r *rig) dump(t testing.TB) []string {
	t.Helper()
	var lines []string
	var key bpf.SockSvcKey
	var value bpf.SockSvc
	used := map[uint32]uint32{} // slot → service
	it := r.svc.Iterate()
	for it.Next(&key, &value) {
		var picks []string
		for i := value.Base; i < value.Base+value.Count; i++ {
			if owner, taken := used[i]; taken && owner != value.Id {
				t.Errorf("slot %d belongs to services %d and %d", i, owner, value.Id)
			}
			used[i] = value.Id
			s := r.slots.at[i]
			b := r.backends.at[s.Backend]
			if b.Gen != s.Gen || b.Svc != value.Id || b.State == stateFree || b.State >= stateLeaving {
				t.Errorf("slot %d of service %d names backend %d, which is %+v", i, value.Id, s.Backend, b)
			}
			picks = append(picks, netip.AddrPortFrom(addrOf(b.Addr), swap(b.Port)).String())
		}
		if value.Flags&flagMaglev == 0 {
			sort.Strings(picks)
		}
		lines = append(lines, fmt.Sprintf("%s scope %d flags %d affinity %d picks %v members %v ranges %v", frontendOf(&key), key.Scope,
			value.Flags, value.AffinityMs, picks, r.dumpMembers(value.Id), r.dumpRanges(t, value.Id)))
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return lines
}

func (r *rig) dumpMembers(svc uint32) []string {
	var list []string
	for _, b := range r.backends.at {
		if b.State != stateFree && b.State < stateLeaving && b.Svc == svc {
			list = append(list, fmt.Sprintf("%s:%d:%d:%d", addrOf(b.Addr), swap(b.Port), b.State, b.Flags))
		}
	}
	sort.Strings(list)
	return list
}

func (r *rig) dumpRanges(t testing.TB, svc uint32) []string {
	var list []string
	var key bpf.SockRangeKey
	var value uint32
	it := r.srcrange.Iterate()
	for it.Next(&key, &value) {
		if key.Svc == svc {
			list = append(list, fmt.Sprintf("%s/%d", addrOf(key.Addr), key.Prefixlen-32))
		}
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	sort.Strings(list)
	return list
}

// source makes services of bytes, or of chance.
type source struct{ data []byte }

func (s *source) next(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % n
}

func (s *source) frontend() Frontend {
	f := Frontend{Port: uint16(80 + s.next(2)), Protocol: []Protocol{TCP, UDP}[s.next(2)], Scope: Scope(s.next(2))}
	f.Addr = []netip.Addr{{}, netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("::ffff:10.96.0.2"),
		netip.MustParseAddr("fd00::1"), netip.IPv4Unspecified()}[s.next(5)]
	return f
}

func (s *source) service() Service {
	svc := Service{Frontend: s.frontend(), Name: "svc"}
	for range s.next(6) {
		b := Backend{Addr: netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + s.next(4))}), Port: uint16(1 + s.next(2)),
			State: BackendState(s.next(3)), Local: s.next(2) == 1}
		if svc.Frontend.Addr.Is6() && !svc.Frontend.Addr.Is4In6() || !svc.Frontend.Addr.IsValid() && s.next(2) == 1 {
			b.Addr = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(1 + s.next(4))})
		}
		svc.Backends = append(svc.Backends, b)
	}
	options := s.next(64)
	svc.Maglev, svc.Drop, svc.KeepClientIP = options&1 != 0, options&2 != 0, options&4 != 0
	if options&8 != 0 {
		svc.Affinity = time.Duration(1+s.next(3)) * time.Hour
	}
	for i := range options >> 4 {
		svc.SourceRanges = append(svc.SourceRanges, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 1, 1}), 16))
	}
	return svc
}

// playModel applies steps to one table and checks after each that a fresh load of the same services looks the same.
func playModel(t testing.TB, s *source, steps int) {
	r := newRig(t)
	model := map[Frontend]Service{}
	set := func(svc Service) {
		all, absent, err := normalize(svc)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range absent {
			delete(model, f)
		}
		for _, n := range all {
			model[n.Frontend] = n
		}
	}
	for step := range steps {
		r.now = r.now.Add(2 * rest)
		switch what := s.next(8); what {
		case 0, 1, 2: // one or several at once
			var list []Service
			for range 1 + s.next(3) {
				list = append(list, s.service())
				set(list[len(list)-1])
			}
			r.twice(t, s.next(3) == 1, func() error { return r.update(t.Context(), list, nil) })
		case 3, 4:
			f := s.frontend()
			for _, f := range families(f) {
				delete(model, f)
			}
			r.twice(t, s.next(3) == 1, func() error { return r.update(t.Context(), nil, []Frontend{f}) })
		case 5: // another whole table, which keeps some
			for f := range model {
				if s.next(2) == 0 {
					delete(model, f)
				}
			}
			for range s.next(4) {
				svc := s.service()
				if _, _, err := normalize(svc); err == nil {
					set(svc)
				}
			}
			r.twice(t, s.next(3) == 1, func() error { return r.sync(t.Context(), slices.Collect(maps.Values(model))) })
		case 6:
			r.bury()
		case 7:
			r.reopen(t)
		}
		fresh := newRig(t)
		must(t, fresh.sync(t.Context(), slices.Collect(maps.Values(model))))
		if got, want := r.dump(t), fresh.dump(t); !slices.Equal(got, want) {
			t.Fatalf("step %d: the table is\n%s\na fresh load is\n%s", step, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	checkNothingLeft(t, r)
}

// checkNothingLeft empties the table and asks for everything back.
func checkNothingLeft(t testing.TB, r *rig) {
	t.Helper()
	must(t, r.sync(t.Context(), nil))
	r.bury()
	r.now = r.now.Add(2 * rest)
	r.spans.settle(r.now)
	if lines := r.dump(t); len(lines) > 0 {
		t.Errorf("an empty table holds %v", lines)
	}
	for id, b := range r.backends.at {
		if b.State != stateFree {
			t.Errorf("backend %d is still in state %d", id, b.State)
		}
	}
	if whole := len(r.spans.free[512].set); whole != 1 {
		t.Errorf("slots are in pieces: %v", r.spans.free)
	}
	if len(r.svcIDs.back) != int(r.svcIDs.next) || len(r.backendIDs.back) != int(r.backendIDs.next) {
		t.Errorf("ids are lost: %d of %d services, %d of %d backends", len(r.svcIDs.back), r.svcIDs.next, len(r.backendIDs.back), r.backendIDs.next)
	}
	if len(r.alive) != 0 {
		t.Errorf("these are held for alive: %v", r.alive)
	}
	if r.ranges != 0 || len(r.keys) != 0 || len(r.entries) != 0 || len(r.byID) != 0 {
		t.Errorf("still noted: %d ranges, %d keys, %d entries", r.ranges, len(r.keys), len(r.entries))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestChangesReachWhatAFreshLoadReaches: Sync and Update in any order end in the same maps.
func TestChangesReachWhatAFreshLoadReaches(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			data := make([]byte, 4000)
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			playModel(t, &source{data}, 30)
		})
	}
}

func FuzzChanges(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte("seven steps over the same few frontends, in both scopes"))
	f.Fuzz(func(t *testing.T, data []byte) { playModel(t, &source{data}, min(12, len(data)/8)) })
}
