package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// maxAnswer bounds an answer: the runtime's own bound.
	maxAnswer = 64 << 20
	// dialTime bounds one attempt to reach a socket of this host.
	dialTime = 2 * time.Second
	// pollTime is between attempts to reach a runtime that starts.
	pollTime = 20 * time.Millisecond
	// restartPause is between starts of a runtime that ends at once.
	restartPause = time.Second
	// endTime is what a runtime gets to end.
	endTime = 15 * time.Second
)

// Config is what a Backend needs.
type Config struct {
	// Socket is where the runtime serves the CRI.
	Socket string
	// Command makes the command that serves it.
	Command func() *exec.Cmd
	// Resync is called with each connection, before events; Follow with each event.
	Resync func(context.Context) error
	Follow func(*runtimev1.ContainerEventResponse)
	Logger *slog.Logger
}

// Validate names what is missing.
func (c *Config) Validate() error {
	if c.Socket == "" || c.Command == nil || c.Resync == nil || c.Follow == nil || c.Logger == nil {
		return errors.New("backend: Socket, Command, Resync, Follow and Logger are required")
	}
	return nil
}

// Backend is the runtime, as far as a shim's daemon has to do with it.
type Backend struct {
	runtimev1.RuntimeServiceClient
	runtimev1.ImageServiceClient

	cfg  Config
	conn *grpc.ClientConn

	mu      sync.Mutex
	child   chan struct{} // closed when the runtime that was started here has ended; nil: none was
	started time.Time
}

// New returns a backend that is not connected yet.
func New(cfg Config) (*Backend, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	conn, err := Dial(cfg.Socket)
	if err != nil {
		return nil, err
	}
	return &Backend{RuntimeServiceClient: runtimev1.NewRuntimeServiceClient(conn), ImageServiceClient: runtimev1.NewImageServiceClient(conn), cfg: cfg, conn: conn}, nil
}

// Dial answers a connection to the runtime at a socket, whose calls wait for it until their context ends.
func Dial(socket string) (*grpc.ClientConn, error) {
	soon := backoff.Config{BaseDelay: pollTime, Multiplier: 1.5, MaxDelay: restartPause / 2}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: dialTime}),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("connect to the runtime: %w", err)
	}
	return conn, nil
}

// Close ends the connection. The runtime goes on.
func (b *Backend) Close() error { return b.conn.Close() }

// Ensure returns when the runtime serves. When nobody serves the socket, it starts one.
func (b *Backend) Ensure(ctx context.Context) error {
	for {
		conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", b.cfg.Socket)
		if err == nil {
			return conn.Close()
		}
		if err := b.start(); err != nil {
			return err
		}
		select {
		case <-time.After(pollTime):
		case <-ctx.Done():
			return fmt.Errorf("wait for the runtime at %s: %w", b.cfg.Socket, ctx.Err())
		}
	}
}

// start starts the runtime unless the last one that was started here still runs, or has just been started.
func (b *Backend) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.child != nil {
		select {
		case <-b.child:
		default:
			return nil
		}
		if time.Since(b.started) < restartPause { // it ended at once: another daemon's may be on its way
			return nil
		}
	}
	cmd := b.cfg.Command()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives us
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the runtime: %w", err)
	}
	ended := make(chan struct{})
	b.child, b.started = ended, time.Now()
	b.cfg.Logger.Info("runtime started", "pid", cmd.Process.Pid)
	go func() { // ends with the process, or with ours
		defer close(ended)
		err := cmd.Wait()
		b.cfg.Logger.Info("runtime ended", "pid", cmd.Process.Pid, "error", err)
	}()
	return nil
}

// Run follows the runtime's events until ctx ends, and starts the runtime again when it is gone.
func (b *Backend) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := b.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		b.cfg.Logger.Warn("the runtime's events ended", "error", err)
		select {
		case <-time.After(pollTime):
		case <-ctx.Done():
		}
	}
}

func (b *Backend) follow(ctx context.Context) error {
	if err := b.Ensure(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := b.GetContainerEvents(ctx, &runtimev1.GetEventsRequest{})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if _, err := stream.Header(); err != nil { // now every event comes
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := b.cfg.Resync(ctx); err != nil {
		return err
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("next event: %w", err)
		}
		b.cfg.Follow(e)
	}
}
