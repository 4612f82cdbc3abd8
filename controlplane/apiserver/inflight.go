package apiserver

import "sync/atomic"

// inflight counts the requests being served, those that write apart from those that read, so that a flood of reads
// does not stop the writes of a controller.
type inflight struct {
	readOnly, mutating gauge
}

type gauge struct {
	now atomic.Int64
	max int64
}

func newInflight(readOnly, mutating int64) *inflight {
	f := &inflight{}
	f.readOnly.max, f.mutating.max = readOnly, mutating
	return f
}

// enter counts a request in, or says that there are too many; done counts it out.
func (f *inflight) enter(mutating bool) (done func(), ok bool) {
	g := &f.readOnly
	if mutating {
		g = &f.mutating
	}
	if g.now.Add(1) > g.max {
		g.now.Add(-1)
		return nil, false
	}
	return func() { g.now.Add(-1) }, true
}
