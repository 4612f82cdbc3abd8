package service

import "github.com/prometheus/client_golang/prometheus"

var (
	modeDesc = prometheus.NewDesc("petrel_proxy_mode", "Which data path serves: 1 for that, 0 for the other.", []string{"mode"}, nil)
	fellDesc = prometheus.NewDesc("petrel_proxy_fallback", "1 when user space serves because the kernel's data path is not to be had.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *Server) Describe(to chan<- *prometheus.Desc) {
	to <- modeDesc
	to <- fellDesc
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(to chan<- prometheus.Metric) {
	now := s.Serving()
	one := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	for _, m := range []Mode{EBPF, Userspace} {
		to <- prometheus.MustNewConstMetric(modeDesc, prometheus.GaugeValue, one(now.Mode == m), string(m))
	}
	to <- prometheus.MustNewConstMetric(fellDesc, prometheus.GaugeValue, one(now.Missing != ""))
}
