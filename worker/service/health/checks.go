package health

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// A port that cannot be listened on is tried again after listenRetry.
const listenRetry = 5 * time.Second

// Checks serve the health check node ports of Services.
type Checks struct {
	ctx     context.Context
	addrs   []netip.Addr
	healthy func() bool
	failed  func(types.NamespacedName, error)
	log     *slog.Logger

	mu      sync.Mutex
	ports   map[types.NamespacedName]*check
	serving sync.WaitGroup
}

// NewChecks serves at the addresses until ctx ends; without any, at all of the machine's. healthy is the proxy's own
// state; failed is told, once for each, of ports that cannot be listened on.
func NewChecks(ctx context.Context, addrs []netip.Addr, healthy func() bool, failed func(types.NamespacedName, error), log *slog.Logger) *Checks {
	return &Checks{ctx: ctx, addrs: addrs, healthy: healthy, failed: failed, log: log, ports: map[types.NamespacedName]*check{}}
}

// check is one Service's port.
type check struct {
	name  types.NamespacedName
	port  uint16
	local atomic.Int64
	end   context.CancelFunc
}

// Set serves a Service's port and tells there how many endpoints this node has. Port 0 is none.
func (c *Checks) Set(name types.NamespacedName, port uint16, local int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is := c.ports[name]
	if is != nil && is.port != port {
		is.end()
		delete(c.ports, name)
		is = nil
	}
	if port == 0 {
		return
	}
	if is == nil {
		is = &check{name: name, port: port}
		c.ports[name] = is
		is.local.Store(int64(local))
		c.start(is)
	}
	is.local.Store(int64(local))
}

// Drop ends a Service's port.
func (c *Checks) Drop(name types.NamespacedName) { c.Set(name, 0, 0) }

// Wait returns when everything has ended after ctx has.
func (c *Checks) Wait() { c.serving.Wait() }

func (c *Checks) start(is *check) {
	ctx, cancel := context.WithCancel(c.ctx)
	is.end = cancel
	addrs := []string{net.JoinHostPort("", strconv.Itoa(int(is.port)))}
	if len(c.addrs) > 0 {
		addrs = nil
		for _, ip := range c.addrs {
			addrs = append(addrs, netip.AddrPortFrom(ip, is.port).String())
		}
	}
	for _, addr := range addrs {
		c.serving.Go(func() { c.serve(ctx, is, addr) })
	}
}

// serve listens as soon as the port is free.
func (c *Checks) serve(ctx context.Context, is *check, addr string) {
	told := false
	for ctx.Err() == nil {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err == nil {
			err = serve(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.answer(w, is) }), c.log)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !told {
			told = true
			c.log.Warn("health check node port cannot be listened on", "service", is.name.String(), "address", addr, "error", err)
			c.failed(is.name, fmt.Errorf("health check node port %d: %w", is.port, err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

// answerBody is the answer's body.
type answerBody struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int64 `json:"localEndpoints"`
	ServiceProxyHealthy bool  `json:"serviceProxyHealthy"`
}

func (c *Checks) answer(w http.ResponseWriter, is *check) {
	body := answerBody{LocalEndpoints: is.local.Load(), ServiceProxyHealthy: c.healthy()}
	body.Service.Namespace, body.Service.Name = is.name.Namespace, is.name.Name
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(body.LocalEndpoints, 10))
	if body.LocalEndpoints == 0 || !body.ServiceProxyHealthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "\t")
	if err := encoder.Encode(body); err != nil {
		c.log.Debug("service health was not told", "error", err)
	}
}
