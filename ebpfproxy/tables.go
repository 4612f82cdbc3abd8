package ebpfproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// tables are the kernel's maps and what stands in them.
type tables struct {
	sizes Sizes
	clock func() time.Time

	svc      *ebpf.Map
	srcrange *ebpf.Map
	node     *ebpf.Map
	slots    mapped[bpf.SockSlot]
	backends mapped[bpf.SockBackend]
	svcstat  mapped[bpf.SockCounters]
	bestat   mapped[bpf.SockCounters]

	svcIDs     ids
	backendIDs ids
	spans      *spans

	entries map[Frontend]*entry
	byID    map[uint32]*entry         // by the service's id
	keys    map[bpf.SockSvcKey]uint32 // what petrel_svc holds, with the service's id
	ranges  int                       // what petrel_srcrange holds
	nodes   map[netip.Addr]struct{}   // what petrel_node holds
	leavers map[uint32]*leaver        // by the backend's id
	homes   map[leaverKey]uint32      // the last backend that left a service at an address
	alive   map[netip.AddrPort]int    // how many services have a backend there
}

// entry is a service as the kernel has it, or is about to.
type entry struct {
	front   Frontend
	id      uint32
	given   Service // as the caller gave it, to find at once that nothing changed
	value   bpf.SockSvc
	span    span
	stale   []span   // ranges that a put which failed half-way may have left in use
	picks   []uint32 // the backends in the slots, in the order of members
	members []member
	ranges  []netip.Prefix
	dirty   bool // the kernel does not hold all of it
}

// member is a backend of a service.
type member struct {
	Backend
	id, gen uint32
}

// leaverKey finds a backend that left its service and comes back.
type leaverKey struct {
	svc  uint32
	addr netip.AddrPort
}

// leaver is a backend that left its service, whose sockets are to be ended.
type leaver struct {
	leaverKey
	gen      uint32
	protocol Protocol
	since    time.Time
}

// errCorrupt: what was taken over contradicts itself.
var errCorrupt = errors.New("tables contradict themselves")

func openTables(shared map[string]*ebpf.Map, sizes Sizes, clock func() time.Time) (*tables, error) {
	t := &tables{
		sizes:      sizes,
		clock:      clock,
		svc:        shared["petrel_svc"],
		srcrange:   shared["petrel_srcrange"],
		node:       shared["petrel_node"],
		svcIDs:     ids{limit: uint32(sizes.Frontends)},
		backendIDs: ids{limit: uint32(sizes.Backends)},
		spans:      newSpans(uint32(sizes.Slots)),
		entries:    map[Frontend]*entry{},
		byID:       map[uint32]*entry{},
		keys:       map[bpf.SockSvcKey]uint32{},
		nodes:      map[netip.Addr]struct{}{},
		leavers:    map[uint32]*leaver{},
		homes:      map[leaverKey]uint32{},
		alive:      map[netip.AddrPort]int{},
	}
	err := errors.Join(
		mapInto(&t.slots, shared["petrel_slot"]),
		mapInto(&t.backends, shared["petrel_backend"]),
		mapInto(&t.svcstat, shared["petrel_svcstat"]),
		mapInto(&t.bestat, shared["petrel_bestat"]),
	)
	if err == nil {
		err = t.recover(clock())
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func mapInto[T any](to *mapped[T], m *ebpf.Map) error {
	var err error
	*to, err = mapArray[T](m)
	return err
}

func (t *tables) close() error {
	return errors.Join(t.slots.close(), t.backends.close(), t.svcstat.close(), t.bestat.close())
}

// addBackend writes a backend that nothing points to yet.
func (t *tables) addBackend(svc uint32, b Backend, now time.Time) (member, bool) {
	id, ok := t.backendIDs.take(now)
	if !ok {
		return member{}, false
	}
	at := &t.backends.at[id]
	t.bestat.at[id] = bpf.SockCounters{}
	at.Addr = words(b.Addr)
	at.Svc = svc
	setWord(at, b.Port, kernelState(b.State), flagsOf(b))
	gen := at.Gen + 1
	if gen == 0 { // 0 is what no slot was ever given
		gen = 1
	}
	atomic.StoreUint32(&at.Gen, gen)
	t.alive[b.addrPort()]++
	return member{Backend: b, id: id, gen: gen}, true
}

func flagsOf(b Backend) uint8 {
	if b.Local {
		return backendLocal
	}
	return 0
}

func (t *tables) setState(id uint32, b Backend, state uint8) {
	setWord(&t.backends.at[id], b.Port, state, flagsOf(b))
}

// leave starts the end of a backend that its service has no more.
func (t *tables) leave(svc uint32, p Protocol, m member, now time.Time) {
	t.setState(m.id, m.Backend, stateLeaving)
	t.noLongerAlive(m.addrPort())
	key := leaverKey{svc, m.addrPort()}
	t.leavers[m.id] = &leaver{leaverKey: key, gen: m.gen, protocol: p, since: now}
	t.homes[key] = m.id
}

// comeBack answers the entry of a backend that left this service a while ago and whose streams still live.
func (t *tables) comeBack(svc uint32, b Backend) (member, bool) {
	id, ok := t.homes[leaverKey{svc, b.addrPort()}]
	if !ok || t.backends.at[id].State != stateLeaving {
		return member{}, false
	}
	m := member{Backend: b, id: id, gen: t.leavers[id].gen}
	t.forget(id)
	t.setState(id, b, kernelState(b.State))
	t.alive[b.addrPort()]++
	return m, true
}

func (t *tables) noLongerAlive(addr netip.AddrPort) {
	if t.alive[addr]--; t.alive[addr] <= 0 {
		delete(t.alive, addr)
	}
}

// maxLingering bounds the backends that left one service and serve another: each change looks at all of them.
const maxLingering = 4096

// servesElsewhere: the stream's server left this service alone, as when a service gets another port: it is not lost. Its
// entry stays until it is, unless there are too many such, or entries run short.
func (t *tables) servesElsewhere(l *leaver) bool {
	return l.protocol == TCP && t.alive[l.addr] > 0 && len(t.leavers) <= maxLingering && t.backendIDs.used() < t.backendIDs.limit/2
}

func (t *tables) forget(id uint32) {
	key := t.leavers[id].leaverKey
	delete(t.leavers, id)
	if t.homes[key] == id {
		delete(t.homes, key)
	}
}

// free ends the entry of a backend whose sockets are ended, unless it came back meanwhile.
func (t *tables) free(id uint32, l *leaver, now time.Time) {
	if t.leavers[id] != l {
		return
	}
	t.forget(id)
	t.setState(id, Backend{Port: l.addr.Port()}, stateFree)
	t.backendIDs.give(id, now)
}

func (t *tables) setNodeAddresses(addrs []netip.Addr) error {
	want := map[netip.Addr]struct{}{}
	var errs []error
	for _, a := range addrs {
		want[a.Unmap().WithZone("")] = struct{}{}
	}
	for a := range t.nodes {
		if _, ok := want[a]; ok {
			continue
		}
		if err := t.node.Delete(bpf.SockAddrKey{Addr: words(a)}); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("remove node address %s: %w", a, err))
			continue
		}
		delete(t.nodes, a)
	}
	missing := 0
	for a := range want {
		if _, ok := t.nodes[a]; ok {
			continue
		}
		if len(t.nodes) >= t.sizes.NodeAddresses {
			missing++
			continue
		}
		if err := t.node.Put(bpf.SockAddrKey{Addr: words(a)}, uint32(1)); err != nil {
			errs = append(errs, fmt.Errorf("add node address %s: %w", a, err))
			continue
		}
		t.nodes[a] = struct{}{}
	}
	if missing > 0 {
		errs = append(errs, &FullError{Table: "NodeAddresses", Limit: t.sizes.NodeAddresses, Missing: missing})
	}
	return errors.Join(errs...)
}
