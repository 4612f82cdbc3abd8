package kernel

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// syncBuckets reach from one endpoint's change to a hundred thousand Services.
var syncBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// metrics are the path's own.
type metrics struct {
	syncs    prometheus.Histogram
	failures prometheus.Counter
	unserved prometheus.Counter
	changes  prometheus.Counter
	last     prometheus.Gauge
}

func newMetrics() *metrics {
	return &metrics{
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "petrel_proxy_sync_seconds", Help: "Time to put changes of services and endpoints into the kernel's tables.", Buckets: syncBuckets,
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "petrel_proxy_sync_failures_total", Help: "Times that the kernel's tables did not take a change; it is tried again.",
		}),
		unserved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "petrel_proxy_unserved_total", Help: "Times that a service could not be put into the kernel's tables as it is; the log says why.",
		}),
		changes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "petrel_proxy_changes_total", Help: "Services whose own or whose endpoints' change was put into the kernel's tables.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "petrel_proxy_sync_last_timestamp_seconds", Help: "When the kernel's tables last had everything.",
		}),
	}
}

func (m *metrics) synced(took time.Duration, changes int, err error) {
	m.syncs.Observe(took.Seconds())
	if err != nil {
		m.failures.Inc()
		return
	}
	m.changes.Add(float64(changes))
	m.last.SetToCurrentTime()
}

// Describe implements prometheus.Collector.
func (p *Path) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, to) }

// Collect implements prometheus.Collector.
func (p *Path) Collect(to chan<- prometheus.Metric) {
	p.metrics.syncs.Collect(to)
	p.metrics.failures.Collect(to)
	p.metrics.unserved.Collect(to)
	p.metrics.changes.Collect(to)
	p.metrics.last.Collect(to)
	if p.counters != nil {
		p.counters.collect(to)
	}
	if outside, ok := p.cfg.Proxy.(interface {
		OutsideStats() (ebpfproxy.NATStats, error)
	}); ok {
		collectOutside(outside.OutsideStats, to)
	}
	services, frontends, endpoints := p.size()
	for name, value := range map[string]struct {
		help string
		n    int
	}{
		"petrel_proxy_services":  {"Services known to the proxy.", services},
		"petrel_proxy_frontends": {"Addresses and ports at which services are reached.", frontends},
		"petrel_proxy_endpoints": {"Endpoints of services, each once a port.", endpoints},
	} {
		desc := prometheus.NewDesc(name, value.help, nil, nil)
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value.n))
	}
}

func (p *Path) size() (services, frontends, endpoints int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, svc := range p.services {
		frontends += len(svc.Frontends())
		if len(svc.HostPorts) > 0 {
			continue // a pod
		}
		services++
		for i := range svc.Ports {
			endpoints += len(svc.Internal(&svc.Ports[i]))
		}
	}
	return services, frontends, endpoints
}
