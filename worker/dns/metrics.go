package dns

import (
	"github.com/prometheus/client_golang/prometheus"
)

// latencyBuckets reach from an answer out of memory to one that several servers were asked for.
var latencyBuckets = []float64{.00005, .0001, .00025, .0005, .001, .005, .01, .05, .1, .5, 1, 2, 5}

// metrics are the server's own.
type metrics struct {
	requests         *prometheus.CounterVec
	latency          *prometheus.HistogramVec
	dropped          prometheus.Counter
	upstreamQueries  *prometheus.CounterVec
	upstreamFailures *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "petrel_dns_requests_total", Help: "Questions by protocol, where the answer came from, and response code.",
		}, []string{"protocol", "source", "rcode"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "petrel_dns_request_seconds", Help: "Time to an answer, by where it came from.", Buckets: latencyBuckets,
		}, []string{"source"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "petrel_dns_dropped_total", Help: "Questions that were dropped because too many were being worked on.",
		}),
		upstreamQueries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "petrel_dns_upstream_queries_total", Help: "Questions to upstream servers.",
		}, []string{"server"}),
		upstreamFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "petrel_dns_upstream_failures_total", Help: "Questions that an upstream server did not answer.",
		}, []string{"server"}),
	}
}

// collectors are the metrics, with those that are read when they are asked for.
func (s *Server) collectors() []prometheus.Collector {
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read)
	}
	m := s.metrics
	return []prometheus.Collector{
		m.requests, m.latency, m.dropped, m.upstreamQueries, m.upstreamFailures,
		gauge("petrel_dns_services", "Services that have names.", func() float64 { return float64(s.table.size()) }),
		gauge("petrel_dns_cache_entries", "Answers in the cache.", func() float64 { n, _ := s.forwarder.cache.size(); return float64(n) }),
		gauge("petrel_dns_cache_bytes", "What they take.", func() float64 { _, n := s.forwarder.cache.size(); return float64(n) }),
		gauge("petrel_dns_upstreams_up", "Upstream servers that are not known to be down.", func() float64 {
			up := 0
			for _, u := range s.forwarder.pool.all() {
				if !u.down.Load() {
					up++
				}
			}
			return float64(up)
		}),
		gauge("petrel_dns_addresses", "Addresses that are listened on.", func() float64 { return float64(len(s.listening())) }),
	}
}
