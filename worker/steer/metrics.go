package steer

import "github.com/prometheus/client_golang/prometheus"

var (
	addressesDesc = prometheus.NewDesc("petrel_steer_addresses",
		"Addresses of Wasm pods whose connections are handed to a socket of the runtime's.", nil, nil)
	connectionsDesc = prometheus.NewDesc("petrel_steer_connections_total",
		"Connections for such addresses: steered, or refused because the socket was closed (absent) or of another family (failed).", []string{"result"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Service) Describe(out chan<- *prometheus.Desc) {
	out <- addressesDesc
	out <- connectionsDesc
}

// Collect implements prometheus.Collector. Where nothing is steered, nothing is told.
func (s *Service) Collect(out chan<- prometheus.Metric) {
	table, _ := s.current()
	if table == nil {
		return
	}
	stats, err := table.Stats()
	if err != nil {
		return // it was closed just now
	}
	out <- prometheus.MustNewConstMetric(addressesDesc, prometheus.GaugeValue, float64(table.Len()))
	for result, n := range map[string]uint64{"steered": stats.Steered, "absent": stats.Absent, "failed": stats.Failed} {
		out <- prometheus.MustNewConstMetric(connectionsDesc, prometheus.CounterValue, float64(n), result)
	}
}
