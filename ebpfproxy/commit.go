package ebpfproxy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// batch bounds how many entries one system call changes.
const batch = 4096

// keysOf answers the keys that lead to e: an external frontend is found by sockets too, unless an internal one is there.
func (t *tables) keysOf(e *entry) []bpf.SockSvcKey {
	if e.front.Scope == Internal {
		return []bpf.SockSvcKey{keyOf(e.front, Internal)}
	}
	keys := []bpf.SockSvcKey{keyOf(e.front, External)}
	if t.entries[twin(e.front)] == nil {
		keys = append(keys, keyOf(e.front, Internal))
	}
	return keys
}

// twin is the same frontend in the other scope.
func twin(f Frontend) Frontend {
	if f.Scope == Internal {
		f.Scope = External
	} else {
		f.Scope = Internal
	}
	return f
}

// commit puts the values and then lets go of what they replaced.
func (c *change) commit(list []*pending) {
	var keys []bpf.SockSvcKey
	var values []bpf.SockSvc
	var of []*pending
	coming := 0
	for _, p := range list {
		var own []bpf.SockSvcKey
		fresh := 0
		for _, k := range c.keysOf(p.entry) {
			id, there := c.keys[k]
			if !there {
				fresh++
			}
			if !there || id != p.id || p.value != p.entry.value {
				own = append(own, k)
			}
		}
		if len(c.keys)+coming+fresh > c.sizes.Frontends {
			c.missing("Frontends", c.sizes.Frontends, fresh)
			p.failed = true
			continue
		}
		coming += fresh
		for _, k := range own {
			keys, values, of = append(keys, k), append(values, p.value), append(of, p)
		}
	}
	c.put(keys, values, of)
	for _, p := range list {
		c.finish(p)
	}
}

// put writes values in batches. One that fails does not keep the others from it.
func (c *change) put(keys []bpf.SockSvcKey, values []bpf.SockSvc, of []*pending) {
	for len(keys) > 0 {
		n, err := c.putSome(keys[:min(batch, len(keys))], values[:min(batch, len(keys))])
		for i := range n {
			c.keys[keys[i]] = values[i].Id
		}
		if err != nil {
			of[n].failed = true
			if errors.Is(err, unix.E2BIG) {
				c.missing("Frontends", c.sizes.Frontends, 1)
			} else {
				c.fail(fmt.Errorf("put service %s %s: %w", of[n].want.Name, of[n].front, err))
			}
			n++
		}
		keys, values, of = keys[n:], values[n:], of[n:]
	}
}

// putSome answers how many values were put before the error.
func (c *change) putSome(keys []bpf.SockSvcKey, values []bpf.SockSvc) (int, error) {
	if len(keys) == 1 {
		if err := c.svc.Put(&keys[0], &values[0]); err != nil {
			return 0, err
		}
		return 1, nil
	}
	n, err := c.svc.BatchUpdate(keys, values, nil)
	if err != nil && n >= len(keys) {
		n = 0 // the call was refused as a whole
	}
	return n, err
}

// finish makes the entry what the kernel has now.
func (c *change) finish(p *pending) {
	e := p.entry
	if p.failed {
		c.keepBoth(p)
		return
	}
	if p.span != e.span {
		c.spans.give(e.span, c.now)
	}
	for _, s := range e.stale {
		c.spans.give(s, c.now)
	}
	for _, m := range p.removed {
		c.leave(e.id, e.front.Protocol, m, c.now)
	}
	c.dropRanges(p)
	e.given = *p.setting.given
	e.given.Backends = slices.Clone(e.given.Backends)
	e.given.SourceRanges = slices.Clone(e.given.SourceRanges)
	e.value, e.span, e.stale, e.picks, e.members = p.value, p.span, nil, p.picks, p.members
	e.dirty = p.short
}

// keepBoth: the kernel may use the old form, the new one, or both, until a later change succeeds.
func (c *change) keepBoth(p *pending) {
	e := p.entry
	if p.span != e.span && p.span.size != 0 {
		e.stale = append(e.stale, p.span)
	}
	e.given.Name = p.want.Name
	e.members = append(p.members, p.removed...)
	slices.SortFunc(e.members, func(a, b member) int { return a.addrPort().Compare(b.addrPort()) })
	e.dirty = true
}

func (c *change) dropRanges(p *pending) {
	kept := p.entry.ranges[:0]
	for _, r := range p.entry.ranges {
		if containsRange(p.want.SourceRanges, r) || c.deleteRange(p.id, r) != nil {
			kept = append(kept, r)
		}
	}
	p.entry.ranges = kept
}

// applyGone removes services: the frontends first, so that nobody finds the backends any more.
func (c *change) applyGone() {
	var keys []bpf.SockSvcKey
	for _, e := range c.gone {
		for _, k := range []bpf.SockSvcKey{keyOf(e.front, Internal), keyOf(e.front, External)} {
			if c.keys[k] == e.id && !c.handBack(e, k) {
				keys = append(keys, k)
			}
		}
	}
	c.deleteKeys(keys)
	for f, e := range c.gone {
		if c.holds(e) {
			e.dirty = true
			continue // told of already; the next Sync removes it
		}
		for _, m := range e.members {
			c.leave(e.id, f.Protocol, m, c.now)
		}
		for _, s := range append(e.stale, e.span) {
			c.spans.give(s, c.now)
		}
		for _, r := range e.ranges {
			if err := c.deleteRange(e.id, r); err != nil {
				c.fail(err)
			}
		}
		delete(c.entries, f)
		delete(c.byID, e.id)
		c.svcIDs.give(e.id, c.now)
	}
}

// handBack gives the key of an internal frontend that goes to the external one at the same place.
func (c *change) handBack(e *entry, k bpf.SockSvcKey) bool {
	other := c.entries[twin(e.front)]
	if e.front.Scope != Internal || other == nil || other.value.Id == 0 || c.gone[other.front] != nil {
		return false
	}
	if err := c.svc.Put(&k, &other.value); err != nil {
		c.fail(fmt.Errorf("put service %s: %w", other.front, err))
		return false
	}
	c.keys[k] = other.id
	return true
}

func (c *change) holds(e *entry) bool {
	return c.keys[keyOf(e.front, Internal)] == e.id || c.keys[keyOf(e.front, External)] == e.id
}

// deleteKeys removes frontends in batches.
func (c *change) deleteKeys(keys []bpf.SockSvcKey) {
	for len(keys) > 0 {
		some := keys[:min(batch, len(keys))]
		n, err := c.svc.BatchDelete(some, nil)
		if err != nil && n >= len(some) {
			n = 0
		}
		for _, k := range some[:n] {
			delete(c.keys, k)
		}
		if err != nil {
			if errors.Is(err, ebpf.ErrKeyNotExist) {
				delete(c.keys, some[n])
			} else {
				c.fail(fmt.Errorf("remove service %s: %w", frontendOf(&some[n]), err))
			}
			n++
		}
		keys = keys[n:]
	}
}
