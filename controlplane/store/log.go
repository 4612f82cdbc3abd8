package store

import (
	"sort"
	"sync"

	"k8s.io/apimachinery/pkg/watch"
)

// change is one thing that happened to one key.
type change struct {
	kind     watch.EventType
	revision int64
	prev     *Entry // nil for Added
	cur      *Entry // for Deleted: the last state, at the revision of the deletion

	leftOnce sync.Once
	left     *Entry
}

// leaving is prev at the change's revision: what a watcher is shown whose selection the object left.
func (c *change) leaving() *Entry {
	c.leftOnce.Do(func() { c.left = c.prev.at(c.revision) })
	return c.left
}

// event is the change as a watcher with this selection sees it, if it does.
func (c *change) event(s *selection) (Event, bool) {
	was := c.prev != nil && s.matches(c.prev)
	is := c.kind != watch.Deleted && s.matches(c.cur)
	switch {
	case is && was:
		return Event{Type: watch.Modified, Entry: c.cur, Revision: c.revision}, true
	case is:
		return Event{Type: watch.Added, Entry: c.cur, Revision: c.revision}, true
	case was && c.kind == watch.Deleted:
		return Event{Type: watch.Deleted, Entry: c.cur, Revision: c.revision}, true
	case was:
		return Event{Type: watch.Deleted, Entry: c.leaving(), Revision: c.revision}, true
	}
	return Event{}, false
}

func (c *change) bytes() int64 {
	n := eventOverhead + formsWeight*int64(len(c.cur.raw))
	if c.prev != nil {
		n += int64(len(c.prev.raw))
	}
	return n
}

// eventLog holds a resource's latest changes. Watchers hold places in it: absolute numbers, which stay true while
// old changes are dropped. The cache's lock guards it.
type eventLog struct {
	changes []*change // changes[head:] is the log
	head    int
	base    int64 // the place of changes[head]
	bytes   int64
	floor   int64 // a watch may start from this revision or a later one
	limits  logLimits
}

type logLimits struct {
	events int
	bytes  int64
}

func (l *eventLog) end() int64 { return l.base + int64(len(l.changes)-l.head) }

func (l *eventLog) append(c *change) {
	l.changes = append(l.changes, c)
	l.bytes += c.bytes()
	for len(l.changes)-l.head > l.limits.events || l.bytes > l.limits.bytes && l.head < len(l.changes) {
		l.drop()
	}
	if l.head > len(l.changes)/2 { // give the memory back, at a cost that is constant per change
		kept := copy(l.changes, l.changes[l.head:])
		clear(l.changes[kept:])
		l.changes, l.head = l.changes[:kept], 0
	}
}

func (l *eventLog) drop() {
	c := l.changes[l.head]
	l.bytes -= c.bytes()
	l.floor = max(l.floor, c.revision)
	l.changes[l.head] = nil
	l.head++
	l.base++
}

// after is the place of the first change with a revision above the one given.
func (l *eventLog) after(revision int64) int64 {
	live := l.changes[l.head:]
	return l.base + int64(sort.Search(len(live), func(i int) bool { return live[i].revision > revision }))
}

// read copies changes from a place on into dst, as many as fit. It tells false when the place is no longer held.
func (l *eventLog) read(place int64, dst []*change) (int, bool) {
	if place < l.base {
		return 0, false
	}
	return copy(dst, l.changes[l.head+int(place-l.base):]), true
}

// expire lets go of everything: watchers in it are left behind, and none may start from before revision.
func (l *eventLog) expire(revision int64) {
	l.base = l.end() + 1 // one past every place that anyone holds
	l.changes, l.head, l.bytes, l.floor = nil, 0, 0, revision
}
