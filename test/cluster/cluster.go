package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
)

// Limits on waiting, far above what is normal, so that they say "broken", not "slow machine".
const (
	readyLimit = 3 * time.Minute
	stopLimit  = time.Minute
)

// State is what a process of petrel tells in <data-dir>/petrel.json.
type State struct {
	API       string `json:"api"`
	Gateway   string `json:"gateway"`
	PID       int    `json:"pid"`
	WasmrtPID int    `json:"wasmrtPid"`
}

// Cluster is a running `petrel up`.
type Cluster struct {
	ground
	State State
	// Kubeconfig says how clients are let in; empty where the API asks nobody.
	Kubeconfig string

	process *Process
	logs    []string // where its parts write, when they are not one process
}

// Start starts a cluster of one node and waits until its API is ready.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	g, err := newGround(o)
	if err != nil {
		return nil, err
	}
	c := &Cluster{ground: g}
	if err := c.Up(ctx); err != nil {
		return nil, errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// DataDir is the cluster's --data-dir.
func (c *Cluster) DataDir() string { return filepath.Join(c.Dir, "data") }

// LogPaths are the files that tell most when something has failed.
func (c *Cluster) LogPaths() []string {
	if c.logs != nil {
		return c.logs
	}
	return []string{c.LogPath(), c.WasmrtLogPath()}
}

// LogPath is where `petrel up` writes.
func (c *Cluster) LogPath() string { return filepath.Join(c.Dir, "petrel.log") }

// WasmrtLogPath is where petrel-wasmrt writes.
func (c *Cluster) WasmrtLogPath() string { return filepath.Join(c.DataDir(), "wasmrt", "wasmrt.log") }

// Up runs `petrel up` on the cluster's data and waits until the API answers. After a kill it is the restart: the API
// and the gateway come up on the ports they had.
func (c *Cluster) Up(ctx context.Context) error {
	args := slices.Concat(undisturbed(), []string{"--listen", c.listen(), "--gateway-listen", c.gateway(),
		"--pod-cidr", c.Addresses.Pods, "--service-cidr", c.Addresses.Services, userspaceProxy}, c.Args)
	p, state, err := c.launch(ctx, "up", c.LogPath(), c.DataDir(), args...)
	c.process = p
	if err != nil {
		return err
	}
	c.State = state
	if strings.HasPrefix(state.API, "https://") {
		c.Kubeconfig = filepath.Join(c.DataDir(), "admin.kubeconfig")
	}
	return apiReady(ctx, state.API, p)
}

func (c *Cluster) listen() string {
	if c.State.API == "" {
		return "127.0.0.1:0"
	}
	_, address, _ := strings.Cut(c.State.API, "://")
	return address
}

func (c *Cluster) gateway() string {
	if c.State.Gateway == "" {
		return "127.0.0.1:0"
	}
	return c.State.Gateway
}

// Client is a client-go client without a limit on its requests.
func (c *Cluster) Client() (*kubernetes.Clientset, error) {
	config, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

// Stop ends the cluster as Ctrl-C would. A process that outlives that is an error, and is killed.
func (c *Cluster) Stop(ctx context.Context) error { return c.stop(ctx, c.process) }

// Interrupt ends the cluster as Ctrl-C does and waits for its end.
func (c *Cluster) Interrupt(ctx context.Context) error { return c.process.interrupt(ctx) }
