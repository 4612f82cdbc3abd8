package ebpfproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sync makes the table hold these services.
func (t *tables) sync(ctx context.Context, services []Service) error {
	c := t.begin()
	c.sets = make([]setting, 0, max(0, len(services)-len(t.entries))) // what is new, at least
	wanted := make(map[Frontend]bool, len(services))
	for i := range services {
		s := &services[i]
		if e := t.entries[s.Frontend]; e != nil && !e.dirty && !wanted[s.Frontend] && same(&e.given, s) {
			wanted[s.Frontend] = true
			continue
		}
		all, _, err := normalize(*s)
		if err != nil {
			c.fail(err)
			t.spare(*s, wanted)
			continue
		}
		for _, n := range all {
			if wanted[n.Frontend] {
				c.fail(fmt.Errorf("%w %s %s: another has the same frontend", ErrInvalid, n.Name, n.Frontend))
				continue
			}
			wanted[n.Frontend] = true
			c.set(n, s)
		}
	}
	for f := range t.entries {
		if !wanted[f] {
			c.remove(f)
		}
	}
	return c.apply(ctx)
}

// spare keeps what serves of a service whose new form is invalid.
func (t *tables) spare(s Service, wanted map[Frontend]bool) {
	for _, f := range families(s.Frontend) {
		wanted[f] = true
	}
}

// update sets some services and removes others.
func (t *tables) update(ctx context.Context, set []Service, gone []Frontend) error {
	c := t.begin()
	for _, f := range gone {
		for _, f := range families(f) {
			c.remove(f)
		}
	}
	for i := range set {
		all, absent, err := normalize(set[i])
		if err != nil {
			c.fail(err)
			continue
		}
		for _, f := range absent {
			c.remove(f)
		}
		for _, n := range all {
			c.set(n, &set[i])
		}
	}
	return c.apply(ctx)
}

// change is one Sync or Update on its way.
type change struct {
	*tables
	now  time.Time
	sets []setting        // as they came: who comes first finds room first
	last map[Frontend]int // where in sets what counts of a frontend is
	gone map[Frontend]*entry
	full map[string]*FullError
	errs []error
}

// setting is a service in the table's form, and as it was given.
type setting struct {
	want  Service
	given *Service
}

func (t *tables) begin() *change {
	return &change{tables: t, now: t.clock(), last: map[Frontend]int{}, gone: map[Frontend]*entry{}, full: map[string]*FullError{}}
}

func (c *change) fail(err error) { c.errs = append(c.errs, err) }

// missing notes that a table had no room for n entries.
func (c *change) missing(table string, limit, n int) {
	f := c.full[table]
	if f == nil {
		f = &FullError{Table: table, Limit: limit}
		c.full[table] = f
	}
	f.Missing += n
}

// set and remove: what is said last of a frontend counts.
func (c *change) set(want Service, given *Service) {
	delete(c.gone, want.Frontend)
	c.last[want.Frontend] = len(c.sets)
	c.sets = append(c.sets, setting{want, given})
}

func (c *change) remove(f Frontend) {
	delete(c.last, f)
	if e := c.entries[f]; e != nil {
		c.gone[f] = e
	}
}

// apply removes first, so that what comes finds room.
func (c *change) apply(ctx context.Context) error {
	c.applyGone()
	list := make([]*pending, 0, len(c.last))
	for i, s := range c.sets {
		if last, ok := c.last[s.want.Frontend]; !ok || last != i {
			continue
		}
		if err := ctx.Err(); err != nil {
			c.fail(err)
			break
		}
		if p := c.prepare(s); p != nil {
			list = append(list, p)
		}
	}
	c.commit(list)
	for _, f := range c.full {
		c.fail(f)
	}
	slices.SortStableFunc(c.errs, func(a, b error) int { return cmp.Compare(rank(a), rank(b)) })
	return errors.Join(c.errs...)
}

// rank puts what concerns all services before what concerns one.
func rank(err error) int {
	if errors.Is(err, ErrInvalid) {
		return 1
	}
	return 0
}
