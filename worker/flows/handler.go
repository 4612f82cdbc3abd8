package flows

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/petrelrun/petrel/ebpfproxy"
)

const (
	// Path is where a node's server tells its flows, and MediaType how.
	Path      = "/flows"
	MediaType = "application/x-ndjson"

	// maxClients bounds how many listen at a time; each is sent what happens on the whole node.
	maxClients = 16
	// writeTimeout is how long one event may take to be sent: who takes nothing for so long is gone.
	writeTimeout = 30 * time.Second
)

// Source is what flows come from: *ebpfproxy.Flows.
type Source interface {
	// Flows answers what happens from now on until ctx ends.
	Flows(ctx context.Context) iter.Seq[ebpfproxy.Flow]
}

// Handler serves flows.
type Handler struct {
	// Source answers nil while the node records none.
	source  func() Source
	clients chan struct{}
}

// NewHandler makes a handler of what source answers at each request.
func NewHandler(source func() Source) *Handler {
	return &Handler{source: source, clients: make(chan struct{}, maxClients)}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	filter, err := ParseFilter(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	source := h.source()
	if source == nil {
		http.Error(w, "this node records no flows: its connections do not go through eBPF", http.StatusNotImplemented)
		return
	}
	select {
	case h.clients <- struct{}{}:
		defer func() { <-h.clients }()
	default:
		http.Error(w, "too many are listening to this node's flows", http.StatusTooManyRequests)
		return
	}
	w.Header().Set("Content-Type", MediaType)
	control := http.NewResponseController(w)
	_ = control.Flush()
	out := json.NewEncoder(w)
	lost := uint64(0) // since the last event that was sent
	for flow := range source.Flows(r.Context()) {
		lost += flow.Lost
		if !filter.Fits(&flow) {
			continue
		}
		flow.Lost, lost = lost, 0
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		err := errors.Join(out.Encode(&flow), control.Flush())
		_ = control.SetWriteDeadline(time.Time{}) // over HTTP/2 it would end the stream at its time, also one that waits
		if err != nil {
			return // the listener is gone
		}
	}
}
