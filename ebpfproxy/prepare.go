package ebpfproxy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// pending is a service whose backends and slots are written, and whose own value is to be put.
type pending struct {
	*entry
	setting
	value   bpf.SockSvc
	span    span
	picks   []uint32
	members []member
	removed []member
	short   bool // some table had no room for all of it
	failed  bool // the value was not put
}

// prepare writes all that s needs but its value, so that nothing changes for clients yet.
func (c *change) prepare(s setting) *pending {
	e := c.entries[s.want.Frontend]
	if e == nil {
		if e = c.addEntry(s.want.Frontend); e == nil {
			c.missing("Frontends", c.sizes.Frontends, 1)
			return nil
		}
	}
	p := &pending{entry: e, setting: s}
	p.mergeMembers(c)
	p.addRanges(c)
	p.value = bpf.SockSvc{Id: e.id, Flags: p.flags(), AffinityMs: affinityMillis(s.want.Affinity)}
	p.choose()
	p.placeSlots(c)
	return p
}

func (t *tables) addEntry(f Frontend) *entry {
	id, ok := t.svcIDs.take(t.clock())
	if !ok {
		return nil
	}
	t.svcstat.at[id] = bpf.SockCounters{}
	e := &entry{front: f, id: id, dirty: true}
	t.entries[f] = e
	t.byID[id] = e
	return e
}

// mergeMembers gives each backend an entry: its own where it has one.
func (p *pending) mergeMembers(c *change) {
	old, want := p.entry.members, p.want.Backends
	p.members = make([]member, 0, len(want))
	for len(old) > 0 || len(want) > 0 {
		switch order := compareHeads(old, want); {
		case order < 0:
			p.removed = append(p.removed, old[0])
			old = old[1:]
		case order > 0:
			p.addMember(c, want[0])
			want = want[1:]
		default:
			m := old[0]
			if m.Backend != want[0] {
				m.Backend = want[0]
				c.setState(m.id, m.Backend, kernelState(m.State))
			}
			p.members = append(p.members, m)
			old, want = old[1:], want[1:]
		}
	}
}

// compareHeads orders the first of both lists; the end of a list is after everything.
func compareHeads(old []member, want []Backend) int {
	switch {
	case len(old) == 0:
		return 1
	case len(want) == 0:
		return -1
	}
	return old[0].addrPort().Compare(want[0].addrPort())
}

func (p *pending) addMember(c *change, b Backend) {
	m, ok := c.comeBack(p.id, b)
	if !ok {
		m, ok = c.addBackend(p.id, b, c.now)
	}
	if !ok {
		c.missing("Backends", c.sizes.Backends, 1)
		p.short = true
		return
	}
	p.members = append(p.members, m)
}

func (p *pending) flags() uint32 {
	return when(p.want.Affinity > 0, flagAffinity) | when(p.want.Maglev, flagMaglev) | when(p.want.Drop, flagDrop) |
		when(len(p.want.SourceRanges) > 0, flagSourceRanges) | when(p.want.KeepClientIP, flagKeepClient)
}

func when(on bool, flag uint32) uint32 {
	if on {
		return flag
	}
	return 0
}

func affinityMillis(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(max(1, d.Milliseconds()))
}

// choose picks who gets new clients: those that are active, and without any those that drain.
func (p *pending) choose() {
	for _, state := range []BackendState{Active, Draining} {
		for _, m := range p.members {
			if m.State == state {
				p.picks = append(p.picks, m.id)
			}
		}
		if len(p.picks) > 0 {
			if state == Draining {
				p.value.Flags |= flagDraining
			}
			return
		}
	}
}

// placeSlots keeps the range whose content stays, or writes another.
func (p *pending) placeSlots(c *change) {
	if len(p.picks) == 0 {
		return
	}
	maglev := p.value.Flags & flagMaglev
	if !p.entry.dirty && slices.Equal(p.picks, p.entry.picks) && maglev == p.entry.value.Flags&flagMaglev {
		p.span, p.value.Base, p.value.Count = p.entry.span, p.entry.value.Base, p.entry.value.Count
		return
	}
	slots := p.slots(c.sizes.Maglev)
	sp, ok := c.spans.take(uint32(len(slots)), c.now)
	if !ok {
		// Without a fresh range the service's own is written over: for a moment clients see some of both.
		sp = p.entry.span
		if int(sp.size) < len(slots) {
			c.missing("Slots", c.sizes.Slots, len(slots)-int(sp.size))
			p.short = true
			p.value.Flags &^= flagMaglev
			slots = p.plainSlots()
			slots = slots[:min(len(slots), int(sp.size))]
		}
	}
	copy(c.slots.at[sp.base:], slots)
	p.span, p.value.Base, p.value.Count = sp, sp.base, uint32(len(slots))
}

func (p *pending) slots(maglev int) []bpf.SockSlot {
	plain := p.plainSlots()
	if p.value.Flags&flagMaglev == 0 {
		return plain
	}
	addrs := make([]netip.AddrPort, 0, len(plain))
	for _, m := range p.chosen() {
		addrs = append(addrs, m.addrPort())
	}
	slots := make([]bpf.SockSlot, 0, maglev)
	for _, i := range maglevTable(addrs, maglev) {
		slots = append(slots, plain[i])
	}
	return slots
}

// plainSlots gives each chosen backend one slot.
func (p *pending) plainSlots() []bpf.SockSlot {
	slots := make([]bpf.SockSlot, 0, len(p.picks))
	for _, m := range p.chosen() {
		slots = append(slots, bpf.SockSlot{Backend: m.id, Gen: m.gen})
	}
	return slots
}

// chosen answers the members that are picked; both lists have the same order.
func (p *pending) chosen() []member {
	list := make([]member, 0, len(p.picks))
	for _, m := range p.members {
		if len(list) < len(p.picks) && m.id == p.picks[len(list)] {
			list = append(list, m)
		}
	}
	return list
}

// addRanges puts the source ranges that are new; until the value says so, nobody asks for them.
func (p *pending) addRanges(c *change) {
	for _, r := range p.want.SourceRanges {
		if slices.Contains(p.entry.ranges, r.Masked()) {
			continue
		}
		if c.ranges >= c.sizes.SourceRanges {
			c.missing("SourceRanges", c.sizes.SourceRanges, 1)
			p.short = true
			continue
		}
		if err := c.srcrange.Put(rangeKey(p.id, r.Masked()), uint32(1)); err != nil {
			c.fail(fmt.Errorf("add source range %s of %s: %w", r, p.want.Name, err))
			p.short = true
			continue
		}
		p.entry.ranges = append(p.entry.ranges, r.Masked())
		c.ranges++
	}
}
