package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
)

const (
	// scrapeTimeout bounds one scrape, the connection's head included.
	scrapeTimeout = 10 * time.Second
	// maxScrapes bounds those that run: each asks every runner.
	maxScrapes = 2
)

// metricsServer serves the metrics until it is closed. The zero one serves nothing.
type metricsServer struct {
	server *http.Server
	ended  sync.WaitGroup
}

// listenMetrics serves at HOST:PORT or unix:PATH. An empty address serves nowhere.
func listenMetrics(address string, runtime prometheus.Collector, log *slog.Logger) (*metricsServer, error) {
	m := &metricsServer{}
	if address == "" {
		return m, nil
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{runtime, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	l, err := metricsListener(address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}))
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: scrapeTimeout, ReadTimeout: scrapeTimeout, IdleTimeout: time.Minute}
	log.Info("serving metrics", "address", l.Addr().String())
	m.ended.Go(func() {
		if err := m.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "error", err)
		}
	})
	return m, nil
}

func metricsListener(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err != nil {
			return nil, &usageError{fmt.Errorf("metrics-listen %q: want HOST:PORT or unix:PATH: %w", address, err)}
		}
		return l, nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("metrics-listen: %w", err)
	}
	l, err := fleet.Listen(path)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (m *metricsServer) close() {
	if m.server == nil {
		return
	}
	_ = m.server.Close() // a scrape that is cut comes again
	m.ended.Wait()
}
