package stats

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// ServerConfig says what a server tells beside the readings.
type ServerConfig struct {
	Collector *Collector
	Host      Host
	// Node is the node's name, and Dir where pods' files are.
	Node, Dir string
	// Starts tells when a pod, by its UID, began.
	Starts func(uid string) Starts
	// Volumes are those of a pod, by its UID, that are behind claims; nil: there are none.
	Volumes func(uid string) []Volume
	// Files tells what a pod keeps on disk beside its containers' layers.
	Files func(Pod) Files
	// ImageDirs are where images lie, with what each takes.
	ImageDirs func(ctx context.Context) map[string]DiskUse
}

// Validate reports what makes the configuration unusable.
func (c *ServerConfig) Validate() error {
	if c.Collector == nil || c.Starts == nil || c.Files == nil || c.ImageDirs == nil {
		return errors.New("a server of stats needs a collector and what tells of pods and images")
	}
	return nil
}

// Server serves readings over HTTP.
type Server struct {
	cfg   ServerConfig
	disks disks
}

// NewServer makes a server.
func NewServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg}, nil
}

// Paths of what is served.
const (
	PathSummary  = "/stats/summary"
	PathResource = "/metrics/resource"
	PathCAdvisor = "/metrics/cadvisor"
)

// windowHeader tells over how long rates were measured, which the summary has no field for.
const windowHeader = "Petrel-Stats-Window"

// Routes puts everything on the mux.
func (s *Server) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+PathSummary, s.serveSummary)
	mux.HandleFunc("GET "+PathResource, s.serve(s.resource))
	mux.HandleFunc("GET "+PathCAdvisor, s.serve(s.cadvisor))
}

// serveSummary answers kubelet's summary; only_cpu_and_memory leaves out what has to be looked for on disks.
func (s *Server) serveSummary(w http.ResponseWriter, r *http.Request) {
	reading, err := s.cfg.Collector.Read(r.Context(), true)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set(windowHeader, reading.Window.String())
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.summary(r.Context(), reading, r.URL.Query().Get("only_cpu_and_memory") == "true"))
}

// serve answers a page of metrics that are made of one reading.
func (s *Server) serve(page func(*Reading, chan<- prometheus.Metric)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reading, err := s.cfg.Collector.Read(r.Context(), false)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(collected{reading, page})
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, r)
	}
}

// collected is one page of one reading. It describes nothing beforehand: what was measured is known only then.
type collected struct {
	reading *Reading
	page    func(*Reading, chan<- prometheus.Metric)
}

// Describe implements prometheus.Collector.
func (collected) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collected) Collect(out chan<- prometheus.Metric) { c.page(c.reading, out) }

// images is where images lie; nil where no runtime tells.
func (s *Server) images(ctx context.Context) *statsv1.FsStats {
	for dir, use := range s.cfg.ImageDirs(ctx) {
		disk, err := ReadDisk(dir)
		if err != nil {
			continue
		}
		fs := fsOf(disk)
		fs.UsedBytes, fs.InodesUsed = use.Bytes, use.Inodes
		return fs
	}
	return nil
}
