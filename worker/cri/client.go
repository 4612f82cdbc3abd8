package cri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Config says which runtime to talk to.
type Config struct {
	// Endpoint is the path of the runtime's unix socket; a unix:// prefix is accepted.
	Endpoint string
	// Observe, when set, is told of every finished unary call: its CRI method (RunPodSandbox), how long it took and
	// its error.
	Observe func(method string, took time.Duration, err error)
	Logger  *slog.Logger
}

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	if !filepath.IsAbs(socketPath(c.Endpoint)) {
		return fmt.Errorf("runtime endpoint %q: want the absolute path of a unix socket", c.Endpoint)
	}
	return nil
}

// Client is a connection to one runtime. Its methods are safe for concurrent use.
type Client struct {
	conn   *grpc.ClientConn
	rt     runtimev1.RuntimeServiceClient
	images runtimev1.ImageServiceClient
	socket string
	log    *slog.Logger
}

// New prepares a client; it connects with the first call.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessageSize),
			grpc.MaxCallSendMsgSize(MaxMessageSize),
		),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectBase, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: reconnectMax,
		}),
	}
	if cfg.Observe != nil {
		options = append(options, grpc.WithUnaryInterceptor(observer(cfg.Observe)))
	}
	conn, err := grpc.NewClient("unix://"+socketPath(cfg.Endpoint), options...)
	if err != nil {
		return nil, fmt.Errorf("prepare runtime connection: %w", err)
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{
		conn:   conn,
		rt:     runtimev1.NewRuntimeServiceClient(conn),
		images: runtimev1.NewImageServiceClient(conn),
		socket: socketPath(cfg.Endpoint),
		log:    log,
	}, nil
}

// Close ends the connection and fails the calls that are under way.
func (c *Client) Close() error { return c.conn.Close() }

// WaitReady blocks until the runtime answers and says that it is ready, or ctx ends. It then returns the reason the
// runtime last gave for not being ready, joined to the context's.
func (c *Client) WaitReady(ctx context.Context) error {
	ticker := time.NewTicker(pollReady)
	defer ticker.Stop()
	told := false
	for {
		err := c.there()
		if err == nil {
			err = c.Ready(ctx)
		}
		if err == nil {
			return nil
		}
		if !told && ctx.Err() == nil {
			told = true
			c.log.Info("waiting for the runtime", "error", err)
		}
		c.conn.Connect() // leaves idle or back-off as soon as it may
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// there reports whether there is a socket at all: gRPC cries out for each attempt to connect to none.
func (c *Client) there() error {
	if _, err := os.Stat(c.socket); err != nil {
		return fmt.Errorf("runtime is not reachable: %w", err)
	}
	return nil
}

// Ready asks the runtime whether it can run pods.
func (c *Client) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.Status(ctx, &runtimev1.StatusRequest{})
	if err != nil {
		return wrap("ask runtime status", err)
	}
	for _, need := range []string{runtimev1.RuntimeReady, runtimev1.NetworkReady} {
		if err := condition(answer.GetStatus(), need); err != nil {
			return err
		}
	}
	return nil
}

func condition(status *runtimev1.RuntimeStatus, name string) error {
	for _, c := range status.GetConditions() {
		if c.GetType() != name {
			continue
		}
		if c.GetStatus() {
			return nil
		}
		return fmt.Errorf("runtime condition %s is false: %s: %s", name, c.GetReason(), c.GetMessage())
	}
	return fmt.Errorf("runtime reports no condition %s", name)
}

// Version tells the runtime's name and version.
func (c *Client) Version(ctx context.Context) (name, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.rt.Version(ctx, &runtimev1.VersionRequest{})
	if err != nil {
		return "", "", wrap("ask runtime version", err)
	}
	return answer.GetRuntimeName(), answer.GetRuntimeVersion(), nil
}

// UpdatePodCIDR tells the runtime which addresses pods may have.
func (c *Client) UpdatePodCIDR(ctx context.Context, cidr string) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := c.rt.UpdateRuntimeConfig(ctx, &runtimev1.UpdateRuntimeConfigRequest{
		RuntimeConfig: &runtimev1.RuntimeConfig{NetworkConfig: &runtimev1.NetworkConfig{PodCidr: cidr}},
	})
	return wrap("update runtime config", err)
}
