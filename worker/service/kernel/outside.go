package kernel

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/petrelrun/petrel/ebpfproxy"
)

var (
	outsideDesc = prometheus.NewDesc("petrel_proxy_outside_total", "Connections and packets from other machines, by what became of them.", []string{"what"}, nil)
	entriesDesc = prometheus.NewDesc("petrel_proxy_outside_entries", "Entries of the table of connections from other machines: two a connection.", nil, nil)
)

// errNotOutside says that packets from outside are not served here.
var errNotOutside = errors.New("packets from outside are not served")

// OutsideStats are the counters of packets from outside.
func (p *programs) OutsideStats() (ebpfproxy.NATStats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nat == nil {
		return ebpfproxy.NATStats{}, errNotOutside
	}
	return p.nat.Stats()
}

// collectOutside writes nothing where outside is not served.
func collectOutside(stats func() (ebpfproxy.NATStats, error), to chan<- prometheus.Metric) {
	s, err := stats()
	if err != nil {
		return
	}
	for what, n := range outsideCounters(&s) {
		to <- prometheus.MustNewConstMetric(outsideDesc, prometheus.CounterValue, float64(n), what)
	}
	to <- prometheus.MustNewConstMetric(entriesDesc, prometheus.GaugeValue, float64(s.Entries))
}

// outsideCounters are the counters by what their label says.
func outsideCounters(s *ebpfproxy.NATStats) map[string]uint64 {
	return map[string]uint64{
		"forwarded": s.Forwarded, "replied": s.Replied, "connections": s.Connections, "refused": s.Refused, "dropped": s.Dropped,
		"denied": s.Denied, "ports_exhausted": s.Exhausted, "ports_reused": s.Reused, "table_full": s.Full, "healed": s.Healed,
		"icmp_errors": s.Errors, "fragments_unknown": s.FragmentsUnknown, "through_stack": s.ThroughStack, "malformed": s.Malformed,
	}
}
