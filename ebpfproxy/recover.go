package ebpfproxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// recover reads what an earlier process left in the maps. Names are not in them: they come with the first Sync.
func (t *tables) recover(now time.Time) error {
	if err := t.recoverServices(); err != nil {
		return err
	}
	if err := t.recoverBackends(now); err != nil {
		return err
	}
	for _, e := range t.entries {
		if err := t.recoverSlots(e); err != nil {
			return err
		}
	}
	if err := t.recoverRanges(); err != nil {
		return err
	}
	return t.recoverNodes()
}

func (t *tables) recoverServices() error {
	keys := make([]bpf.SockSvcKey, batch)
	values := make([]bpf.SockSvc, batch)
	var cursor ebpf.MapBatchCursor
	var used []uint32
	for done := false; !done; {
		n, err := t.svc.BatchLookup(&cursor, keys, values, nil)
		if done = errors.Is(err, ebpf.ErrKeyNotExist); err != nil && !done {
			return fmt.Errorf("read services: %w", err)
		}
		for i := range n {
			if values[i].Id == 0 || values[i].Id > t.svcIDs.limit {
				return fmt.Errorf("%w: service id %d", errCorrupt, values[i].Id)
			}
			t.keys[keys[i]] = values[i].Id
			t.recoverService(frontendOf(&keys[i]), values[i])
		}
	}
	for id, e := range t.byID {
		used = append(used, id)
		t.entries[e.front] = e
	}
	if len(t.entries) != len(t.byID) {
		return fmt.Errorf("%w: a frontend with several ids", errCorrupt)
	}
	t.svcIDs.adopt(used)
	return nil
}

// recoverService: both keys of an external service have its id; the external one names it.
func (t *tables) recoverService(f Frontend, value bpf.SockSvc) {
	e := t.byID[value.Id]
	if e == nil {
		e = &entry{front: f, id: value.Id, value: value}
		t.byID[value.Id] = e
	}
	if f.Scope == External {
		e.front = f
	}
	if e.value != value { // a put that ended half-way
		e.dirty = true
		e.stale = append(e.stale, span{value.Base, value.Count})
	}
}

func (t *tables) recoverBackends(now time.Time) error {
	var used []uint32
	for id := range t.backends.at {
		b := &t.backends.at[id]
		if b.State == stateFree {
			continue
		}
		if id == 0 || b.State > stateDead {
			return fmt.Errorf("%w: backend %d in state %d", errCorrupt, id, b.State)
		}
		used = append(used, uint32(id))
		m := member{id: uint32(id), gen: b.Gen, Backend: Backend{
			Addr: addrOf(b.Addr), Port: swap(b.Port), Local: b.Flags&backendLocal != 0}}
		t.alive[m.addrPort()]++ // leave takes it back
		e := t.byID[b.Svc]
		if e == nil || b.State >= stateLeaving {
			protocol := TCP // the longer way to go
			if e != nil {
				protocol = e.front.Protocol
			}
			t.leave(b.Svc, protocol, m, now)
			continue
		}
		m.State = backendState(b.State)
		e.members = append(e.members, m)
	}
	t.backendIDs.adopt(used)
	for _, e := range t.entries {
		slices.SortFunc(e.members, func(a, b member) int {
			return cmp.Or(a.addrPort().Compare(b.addrPort()), cmp.Compare(a.id, b.id))
		})
	}
	return nil
}

// recoverSlots finds which members the slots name.
func (t *tables) recoverSlots(e *entry) error {
	v := e.value
	for i, s := range e.stale {
		e.stale[i], _ = t.spans.adopt(s.base, s.size)
	}
	if v.Count == 0 {
		return nil
	}
	if uint64(v.Base)+uint64(v.Count) > uint64(len(t.slots.at)) {
		return fmt.Errorf("%w: slots %d+%d", errCorrupt, v.Base, v.Count)
	}
	sp, ok := t.spans.adopt(v.Base, v.Count)
	if !ok {
		return fmt.Errorf("%w: slots %d+%d are another's", errCorrupt, v.Base, v.Count)
	}
	e.span = sp
	named := map[bpf.SockSlot]bool{}
	for _, s := range t.slots.at[v.Base : v.Base+v.Count] {
		named[s] = true
	}
	for _, m := range e.members {
		s := bpf.SockSlot{Backend: m.id, Gen: m.gen}
		if named[s] {
			e.picks = append(e.picks, m.id)
			delete(named, s)
		}
	}
	if len(named) > 0 {
		e.dirty = true // it names what is gone
	}
	return nil
}

func (t *tables) recoverRanges() error {
	var key bpf.SockRangeKey
	var value uint32
	var orphans []bpf.SockRangeKey
	it := t.srcrange.Iterate()
	for it.Next(&key, &value) {
		if key.Prefixlen < 32 || key.Prefixlen > 160 {
			return fmt.Errorf("%w: source range of %d bits", errCorrupt, key.Prefixlen)
		}
		t.ranges++
		e := t.byID[key.Svc]
		if e == nil {
			orphans = append(orphans, key)
			continue
		}
		addr, bits := addrOf(key.Addr), int(key.Prefixlen)-32
		if addr.Is4() {
			bits -= 96
		}
		e.ranges = append(e.ranges, netip.PrefixFrom(addr, bits))
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read source ranges: %w", err)
	}
	for i := range orphans {
		if err := t.srcrange.Delete(&orphans[i]); err != nil {
			return fmt.Errorf("remove source range: %w", err)
		}
		t.ranges--
	}
	return nil
}

func (t *tables) recoverNodes() error {
	var key bpf.SockAddrKey
	var value uint32
	it := t.node.Iterate()
	for it.Next(&key, &value) {
		t.nodes[addrOf(key.Addr)] = struct{}{}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read node addresses: %w", err)
	}
	return nil
}
