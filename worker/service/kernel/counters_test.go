package kernel

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// tally collects as "namespace/service:port" to connections.
type tally struct{ c *counters }

func (y tally) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(y, to) }
func (y tally) Collect(to chan<- prometheus.Metric) { y.c.collect(to) }

func (y tally) connections(t *testing.T) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(y)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "petrel_proxy_service_connections_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			out[labels["namespace"]+"/"+labels["service"]+":"+labels["port"]] = m.GetCounter().GetValue()
		}
	}
	return out
}

func TestCountersAreBounded(t *testing.T) {
	var now []ebpfproxy.ServiceStats
	set := func(names ...string) {
		now = nil
		for _, name := range names {
			for range 2 { // two frontends
				now = append(now, ebpfproxy.ServiceStats{Name: name, Counters: ebpfproxy.Counters{Connections: 1}})
			}
		}
	}
	y := tally{newCounters(func() []ebpfproxy.ServiceStats { return now }, 2)}
	set("ns/a:http", "ns/b:")
	want(t, y, map[string]float64{"ns/a:http": 2, "ns/b:": 2})
	set("ns/a:http", "ns/b:", "ns/c:", "ns/d:")
	for range 5 { // whoever came first keeps its own
		want(t, y, map[string]float64{"ns/a:http": 2, "ns/b:": 2, others + "/" + others + ":" + others: 4})
	}
	set("ns/a:http", "ns/d:")
	want(t, y, map[string]float64{"ns/a:http": 2, "ns/d:": 2})
}

func want(t *testing.T, y tally, want map[string]float64) {
	t.Helper()
	if got := y.connections(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("connections are %v, want %v", got, want)
	}
}
