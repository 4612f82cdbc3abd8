package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/flows"
	"github.com/petrelrun/petrel/worker/streaming"
)

// Limits of the node's HTTP server.
const (
	nodeHeaderTimeout = 10 * time.Second
	nodeIdleTimeout   = 2 * time.Minute
	nodeMaxHeader     = 16 << 10
	// nodeShutdown is what requests under way have when the worker ends; log followers end with its context.
	nodeShutdown = time.Second
)

// nodeServer is the node's own HTTP server: logs and streams for the API server, health and metrics for whoever looks after it.
type nodeServer struct {
	m     *manager
	node  string
	log   *slog.Logger
	relay *streaming.Relay
	// toPods carries requests for pods.
	toPods *http.Transport
}

func newNodeServer(m *manager, node string, log *slog.Logger) *nodeServer {
	return &nodeServer{m: m, node: node, log: log, relay: streaming.NewRelay(log), toPods: newPodTransport()}
}

func (s *nodeServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for _, method := range []string{"GET ", "POST "} { // WebSockets come with GET, SPDY with POST
		mux.HandleFunc(method+"/exec/{namespace}/{pod}/{container}", s.exec)
		mux.HandleFunc(method+"/attach/{namespace}/{pod}/{container}", s.attach)
		mux.HandleFunc(method+"/portForward/{namespace}/{pod}", s.portForward)
	}
	mux.HandleFunc("/podProxy/{namespace}/{pod}/{scheme}/{port}", s.podProxy)
	mux.HandleFunc("GET /pods", s.pods)
	mux.Handle("GET "+flows.Path, flows.NewHandler(s.m.guard.source))
	s.m.figures.Routes(mux)
	own := promhttp.HandlerFor(s.m.metrics.registry, promhttp.HandlerOpts{})
	mux.Handle("GET /metrics", newRuntimeMetrics(s.m.cfg.RuntimeMetrics).behind(own))
	return s.guard(mux)
}

// guard refuses whoever may not ask.
func (s *nodeServer) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reason, code := s.refusal(r); reason != "" {
			http.Error(w, reason, code)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *nodeServer) ours(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || host == s.node {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || slices.Contains(s.m.cfg.NodeIPs, ip))
}

// pods lists the node's pods as the worker sees them.
func (s *nodeServer) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{Items: []corev1.Pod{}}
	list.Kind, list.APIVersion = "PodList", "v1"
	for _, a := range s.m.all() {
		shown := a.snapshot()
		p := *shown.pod
		p.Status.Phase = shown.phase
		list.Items = append(list.Items, p)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// serve serves until ctx ends.
func (s *nodeServer) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: nodeHeaderTimeout, IdleTimeout: nodeIdleTimeout, MaxHeaderBytes: nodeMaxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeShutdown)
		defer cancel()
		if server.Shutdown(deadline) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(secured(listener, s.m.cfg.NodeTLS))
	if !stop() {
		<-ended
	}
	s.relay.Wait() // its connections are no longer the server's
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve node: %w", err)
}
