package apiserver

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/petrelrun/petrel/controlplane/resource"
)

// metrics are named as kube-apiserver's, so that what reads those reads these.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	streams  *prometheus.GaugeVec
}

// routeKey is where a handler leaves what it serves, for the labels.
const routeKey = "petrel.route"

type routeLabels struct{ verb, group, version, resource, subresource string }

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total", Help: "Requests answered, by what they were for and how they ended.",
		}, []string{"verb", "group", "version", "resource", "subresource", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds", Help: "Time to answer, without watches and streams.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"verb", "group", "version", "resource", "subresource"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests", Help: "Watches and streams that are open.",
		}, []string{"verb", "group", "version", "resource"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.streams,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watchInflight exports how many requests are being served.
func (m *metrics) watchInflight(f *inflight) {
	for kind, g := range map[string]*gauge{"readOnly": &f.readOnly, "mutating": &f.mutating} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests", Help: "Requests being served.",
			ConstLabels: prometheus.Labels{"request_kind": kind},
		}, func() float64 { return float64(g.now.Load()) }))
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) observe(c echo.Context, took time.Duration) {
	l, ok := c.Get(routeKey).(routeLabels)
	if !ok {
		return // no resource: paths are not labels, or a scanner could make any number of them
	}
	m.requests.WithLabelValues(l.verb, l.group, l.version, l.resource, l.subresource, strconv.Itoa(c.Response().Status)).Inc()
	if l.verb != "watch" && !slices.Contains(streamed, l.subresource) {
		m.duration.WithLabelValues(l.verb, l.group, l.version, l.resource, l.subresource).Observe(took.Seconds())
	}
}

// longRunning counts a stream in; what it answers counts it out.
func (m *metrics) longRunning(verb string, d *resource.Definition) func() {
	g := m.streams.WithLabelValues(verb, d.GVR.Group, d.GVR.Version, d.GVR.Resource)
	g.Inc()
	return g.Dec
}
