package policy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// counting is an Enforcer that counts.
type counting interface {
	Stats() (ebpfproxy.PolicyStats, error)
}

var verdictDesc = prometheus.NewDesc("petrel_policy_verdicts_total",
	"Connections and datagrams of isolated pods, by what their policies came to; forged: packets from an address that the pod does not have.",
	[]string{"direction", "verdict"}, nil)

// syncBuckets reach from one pod's change to a cluster's worth of policies.
var syncBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

type metrics struct {
	syncs    prometheus.Histogram
	failures prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "petrel_policy_sync_seconds", Help: "Time to compile policies and put them into the kernel.", Buckets: syncBuckets,
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "petrel_policy_sync_failures_total", Help: "Times that the kernel did not take policies as they should be; it is tried again.",
		}),
	}
}

func (m *metrics) synced(took time.Duration, err error) {
	m.syncs.Observe(took.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}

// Describe implements prometheus.Collector.
func (a *Agent) Describe(to chan<- *prometheus.Desc) {
	a.metrics.syncs.Describe(to)
	a.metrics.failures.Describe(to)
	to <- verdictDesc
}

// Collect implements prometheus.Collector.
func (a *Agent) Collect(to chan<- prometheus.Metric) {
	a.metrics.syncs.Collect(to)
	a.metrics.failures.Collect(to)
	c, ok := a.cfg.Enforcer.(counting)
	if !ok {
		return
	}
	stats, err := c.Stats()
	if err != nil {
		return // it is not open (any more): there is nothing to tell
	}
	for direction, n := range map[string]ebpfproxy.VerdictCounts{"ingress": stats.Ingress, "egress": stats.Egress} {
		for verdict, count := range map[string]uint64{
			"allowed": n.Allowed, "denied": n.Denied, "reply": n.Replies, "refused": n.Refused, "untracked": n.Untracked, "forged": n.Forged,
		} {
			to <- prometheus.MustNewConstMetric(verdictDesc, prometheus.CounterValue, float64(count), direction, verdict)
		}
	}
}
