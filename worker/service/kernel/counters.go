package kernel

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// maxSeries is how many Services' ports have counters of their own in the metrics; the others' are summed up.
const maxSeries = 1000

// others is what the sum's labels say.
const others = "(others)"

// counters tell Prometheus of Services. A port that has once got its own series keeps it until it goes, so that each
// series only grows; the sum of the others may fall when one of them goes, as after a restart.
type counters struct {
	stats func() []ebpfproxy.ServiceStats
	limit int

	mu       sync.Mutex
	admitted map[string]bool
}

func newCounters(stats func() []ebpfproxy.ServiceStats, limit int) *counters {
	return &counters{stats: stats, limit: limit, admitted: map[string]bool{}}
}

var (
	serviceLabels = []string{"namespace", "service", "port"}

	connectionsDesc = prometheus.NewDesc("petrel_proxy_service_connections_total", "Connections and first datagrams of clients.", serviceLabels, nil)
	packetsDesc     = prometheus.NewDesc("petrel_proxy_service_packets_total", "Datagrams of unconnected sockets, and packets forwarded.", serviceLabels, nil)
	bytesDesc       = prometheus.NewDesc("petrel_proxy_service_bytes_total", "Bytes of packets forwarded.", serviceLabels, nil)
	refusedDesc     = prometheus.NewDesc("petrel_proxy_service_refused_total", "Clients turned away: no endpoint, or a source out of range.", serviceLabels, nil)
)

// collect writes what there is.
func (c *counters) collect(to chan<- prometheus.Metric) {
	sums := map[string]ebpfproxy.Counters{}
	for _, s := range c.stats() {
		sums[s.Name] = add(sums[s.Name], s.Counters)
	}
	c.mu.Lock()
	for name := range c.admitted {
		if _, there := sums[name]; !there {
			delete(c.admitted, name)
		}
	}
	var rest ebpfproxy.Counters
	left := false
	for name, sum := range sums {
		if !c.admitted[name] && len(c.admitted) >= c.limit {
			rest, left = add(rest, sum), true
			continue
		}
		c.admitted[name] = true
		namespace, service, port := splitName(name)
		tell(to, sum, namespace, service, port)
	}
	c.mu.Unlock()
	if left {
		tell(to, rest, others, others, others)
	}
}

func tell(to chan<- prometheus.Metric, c ebpfproxy.Counters, labels ...string) {
	for desc, value := range map[*prometheus.Desc]uint64{
		connectionsDesc: c.Connections, packetsDesc: c.Packets, bytesDesc: c.Bytes, refusedDesc: c.Refused,
	} {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
}

func add(a, b ebpfproxy.Counters) ebpfproxy.Counters {
	return ebpfproxy.Counters{
		Connections: a.Connections + b.Connections, Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes, Refused: a.Refused + b.Refused,
	}
}

// splitName undoes what Values made of the names: namespace/name:port.
func splitName(name string) (namespace, service, port string) {
	namespace, rest, _ := strings.Cut(name, "/")
	service, port, _ = strings.Cut(rest, ":")
	return namespace, service, port
}
