package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/petrelrun/petrel/worker/network"
	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

const (
	// maxCall is a configuration in a call: base64 is not used, but quotes are escaped.
	maxCall = 2 * plugin.MaxConfig
	// readTimeout bounds the time that a call takes to come in, from the same machine.
	readTimeout = 10 * time.Second
	// shutdownTimeout is what calls get to end in order.
	shutdownTimeout = 5 * time.Second
	// maxSocketPath is what the kernel takes.
	maxSocketPath = 107
)

// Network is what containers are attached to.
type Network interface {
	Attach(ctx context.Context, a network.Attachment) (*network.Endpoint, error)
	Check(ctx context.Context, a network.Attachment) error
	Detach(ctx context.Context, containerID, ifName string) error
	Attached() ([]*network.Endpoint, error)
	PodCIDRs() []netip.Prefix
}

// Config says what a Server works with.
type Config struct {
	// Socket is where it listens.
	Socket  string
	Network Network
	Logger  *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	switch {
	case c.Network == nil:
		return errors.New("CNI server needs a network")
	case !filepath.IsAbs(c.Socket) || len(c.Socket) > maxSocketPath:
		return fmt.Errorf("CNI socket %q: want an absolute path of at most %d bytes", c.Socket, maxSocketPath)
	}
	return nil
}

// Server answers the plugin.
type Server struct{ cfg Config }

// New makes a server; it does nothing before Run.
func New(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg}, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+plugin.CallPath, s.serve)
	server := &http.Server{
		Handler: mux, ReadTimeout: readTimeout, MaxHeaderBytes: 1 << 14,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err = <-done:
		return fmt.Errorf("serve CNI socket: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		_ = server.Close() // what is still under way is cut off, and tried again by the runtime
	}
	<-done
	return nil
}

// listen takes the socket over from a worker that is no more, never from one that is.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(s.cfg.Socket), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of CNI socket: %w", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", s.cfg.Socket)
	if err == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on CNI socket %s: another worker does", s.cfg.Socket)
	}
	if info, err := os.Lstat(s.cfg.Socket); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(s.cfg.Socket); err != nil {
			return nil, fmt.Errorf("remove old CNI socket: %w", err)
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", s.cfg.Socket)
	if err != nil {
		return nil, fmt.Errorf("listen on CNI socket: %w", err)
	}
	if err := os.Chmod(s.cfg.Socket, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("close CNI socket to others: %w", err)
	}
	return listener, nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	var c plugin.Call
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCall)).Decode(&c); err != nil {
		s.answer(w, nil, plugin.NewError(plugin.CodeDecode, "decode call: %v", err))
		return
	}
	config, err := plugin.DecodeConfig(c.Config)
	if err != nil {
		s.answer(w, nil, err)
		return
	}
	began := time.Now()
	result, err := s.do(r.Context(), config, &c)
	level := slog.LevelDebug
	if err != nil {
		level = slog.LevelWarn
	}
	s.cfg.Logger.Log(r.Context(), level, "container network", "command", c.Command, "container", c.ContainerID, "took", time.Since(began), "error", err)
	s.answer(w, result, err)
}

// do is one call.
func (s *Server) do(ctx context.Context, config *plugin.Config, c *plugin.Call) (*result, error) {
	switch c.Command {
	case plugin.Status:
		if len(s.cfg.Network.PodCIDRs()) == 0 {
			return nil, plugin.NewError(plugin.CodeNotAvailable, "%v", network.ErrNoPodCIDR)
		}
		return nil, nil
	case plugin.GC:
		return nil, s.collect(ctx, config.Valid)
	case plugin.Add, plugin.Del, plugin.Check:
	default:
		return nil, plugin.NewError(plugin.CodeEnvironment, "command %q is unknown", c.Command)
	}
	if err := c.CheckContainer(); err != nil {
		return nil, err
	}
	args, err := parseArgs(c.Args)
	if err != nil {
		return nil, err
	}
	a := network.Attachment{ContainerID: c.ContainerID, Owner: owner(args, c.ContainerID), Netns: c.Netns, IfName: c.IfName}
	switch c.Command {
	case plugin.Del:
		return nil, s.cfg.Network.Detach(ctx, a.ContainerID, a.IfName)
	case plugin.Check:
		return nil, s.cfg.Network.Check(ctx, a)
	}
	e, err := s.cfg.Network.Attach(ctx, a)
	if err != nil {
		return nil, err
	}
	return newResult(config.CNIVersion, e), nil
}

// collect detaches what the runtime no longer knows.
func (s *Server) collect(ctx context.Context, valid []plugin.ValidAttachment) error {
	known := map[plugin.ValidAttachment]bool{}
	for _, v := range valid {
		known[v] = true
	}
	attached, err := s.cfg.Network.Attached()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range attached {
		if !known[plugin.ValidAttachment{ContainerID: e.ContainerID, IfName: e.IfName}] {
			errs = append(errs, s.cfg.Network.Detach(ctx, e.ContainerID, e.IfName))
		}
	}
	return errors.Join(errs...)
}

func (s *Server) answer(w http.ResponseWriter, r *result, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		if r != nil {
			_ = json.NewEncoder(w).Encode(r) // a plugin that is gone is called again by its runtime
		}
		return
	}
	var e *plugin.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, network.ErrNoPodCIDR):
		e = plugin.NewError(plugin.CodeTryAgain, "%v", err)
	case errors.Is(err, network.ErrNotAttached):
		e = plugin.NewError(plugin.CodeContainer, "%v", err)
	default:
		e = plugin.NewError(plugin.CodeFailed, "%v", err)
	}
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(e)
}
