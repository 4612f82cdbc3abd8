package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// interfacesEvery is how often new interfaces are looked for: a tunnel is made when the first node behind it is known.
const interfacesEvery = 2 * time.Second

// attacher is what of an *ebpfproxy.NAT it takes to follow the interfaces.
type attacher interface {
	SetInterfaces(names []string) error
	Run(ctx context.Context) error
}

// outside looks after the programs for packets from outside.
type outside struct {
	nat        attacher
	interfaces func() ([]string, error)
	log        *slog.Logger

	names []string // as they were last, sorted
	said  string   // what was told of last
}

// run follows the interfaces, and has the table of connections swept, until ctx ends.
func (o *outside) run(ctx context.Context) {
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	sweeping.Go(func() {
		if err := o.nat.Run(ctx); err != nil && ctx.Err() == nil {
			o.log.Error("connections from outside are not looked after", "error", err)
		}
	})
	every := time.NewTicker(interfacesEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			o.attach()
		}
	}
}

// attach brings the programs to the interfaces that there are now. One that cannot be served is told of and leaves the
// others alone.
func (o *outside) attach() {
	names, err := o.interfaces()
	if err != nil {
		o.tell(fmt.Errorf("list interfaces: %w", err))
		return
	}
	slices.Sort(names)
	if o.names != nil && slices.Equal(names, o.names) {
		return
	}
	o.names = names
	o.tell(o.nat.SetInterfaces(names))
}

// tell says what is new.
func (o *outside) tell(err error) {
	said := fmt.Sprint(err)
	if err != nil && said != o.said {
		o.log.Warn("packets from outside do not reach services on every interface", "error", err)
	}
	o.said = said
}

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
