package ebpfproxy

import (
	"sync/atomic"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// Stats answers the counters of all services, in no order. They count on while they are read.
func (p *Proxy) Stats() []ServiceStats {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.tables == nil {
		return nil
	}
	list := make([]ServiceStats, 0, len(p.entries))
	for _, e := range p.entries {
		s := ServiceStats{Frontend: e.front, Name: e.given.Name, Counters: countersOf(&p.svcstat.at[e.id])}
		for _, m := range e.members {
			s.Backends = append(s.Backends, BackendStats{Addr: m.addrPort(), Name: m.Name, Counters: countersOf(&p.bestat.at[m.id])})
		}
		list = append(list, s)
	}
	return list
}

func countersOf(c *bpf.SockCounters) Counters {
	return Counters{
		Connections: atomic.LoadUint64(&c.Connections),
		Packets:     atomic.LoadUint64(&c.Packets),
		Bytes:       atomic.LoadUint64(&c.Bytes),
		Refused:     atomic.LoadUint64(&c.Refused),
	}
}

// names answers what callers named a service and one of its backends, by their ids in the maps; "" for those that are
// gone or that nobody named.
func (p *Proxy) names(svc, backend uint32) (service, backendName string) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.tables == nil {
		return "", ""
	}
	e := p.byID[svc]
	if e == nil {
		return "", ""
	}
	for _, m := range e.members {
		if m.id == backend {
			return e.given.Name, m.Name
		}
	}
	return e.given.Name, ""
}
