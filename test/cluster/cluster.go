package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Limits on waiting, far above what is normal, so that they say "broken", not "slow machine".
const (
	readyLimit = 60 * time.Second
	stopLimit  = 30 * time.Second
)

// State is what `petrel up` tells in <data-dir>/petrel.json.
type State struct {
	API       string `json:"api"`
	Gateway   string `json:"gateway"`
	PID       int    `json:"pid"`
	WasmrtPID int    `json:"wasmrtPid"`
}

// Cluster is a running `petrel up`.
type Cluster struct {
	Options
	Addresses *Addresses
	State     State

	bin     string
	process *Process
}

// Start starts a cluster of one node and waits until its API is ready.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	bin, err := linkBinaries(o.Binaries, o.Dir)
	if err != nil {
		return nil, err
	}
	addresses, err := claimAddresses()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Options: o, Addresses: addresses, bin: bin}
	if err := c.Up(ctx); err != nil {
		return nil, errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// DataDir is the cluster's --data-dir.
func (c *Cluster) DataDir() string { return filepath.Join(c.Dir, "data") }

// LogPath is where `petrel up` writes.
func (c *Cluster) LogPath() string { return filepath.Join(c.Dir, "petrel.log") }

// WasmrtLogPath is where petrel-wasmrt writes.
func (c *Cluster) WasmrtLogPath() string { return filepath.Join(c.DataDir(), "wasmrt", "wasmrt.log") }

// Petrel is the path of this cluster's petrel binary.
func (c *Cluster) Petrel() string { return filepath.Join(c.bin, petrelBinary) }

// Up runs `petrel up` on the cluster's data and waits until the API answers. After a kill it is the restart: the API
// and the gateway come up on the ports they had.
func (c *Cluster) Up(ctx context.Context) error {
	args := append([]string{"up", "--log-file", "-", "--data-dir", c.DataDir(), "--listen", c.listen(), "--gateway-listen", c.gateway(),
		"--pod-cidr", c.Addresses.Pods, "--service-cidr", c.Addresses.Services}, c.Args...)
	process, err := startProcess("petrel up", c.LogPath(), c.Petrel(), args, nil)
	if err != nil {
		return err
	}
	c.process = process
	if err := Until(ctx, readyLimit, "petrel up to tell where it listens", c.readState); err != nil {
		return err
	}
	return Until(ctx, readyLimit, "the API to be ready", func() error { return c.ready(ctx) })
}

func (c *Cluster) listen() string {
	if c.State.API == "" {
		return "127.0.0.1:0"
	}
	return c.State.API[len("http://"):]
}

func (c *Cluster) gateway() string {
	if c.State.Gateway == "" {
		return "127.0.0.1:0"
	}
	return c.State.Gateway
}

func (c *Cluster) readState() error {
	if !c.process.Running() {
		return fmt.Errorf("petrel up ended: %v; see %s:\n%s", c.process.err, c.LogPath(), Tail(c.LogPath(), 20))
	}
	data, err := os.ReadFile(filepath.Join(c.DataDir(), "petrel.json"))
	if err != nil {
		return err
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if s.PID != c.process.PID() {
		return fmt.Errorf("petrel.json is of process %d, not yet of %d", s.PID, c.process.PID())
	}
	c.State = s
	return nil
}

func (c *Cluster) ready(ctx context.Context) error {
	if !c.process.Running() {
		return fmt.Errorf("petrel up ended: %v", c.process.err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.State.API+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", res.Status)
	}
	return nil
}

// Client is a client-go client without a limit on its requests.
func (c *Cluster) Client() (*kubernetes.Clientset, error) {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: c.State.API, QPS: -1, UserAgent: "petrel-test"})
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

// Processes answers every live process of this cluster.
func (c *Cluster) Processes() ([]Found, error) { return findProcesses(c.bin) }

// Supervisors answers the processes that serve the runtime interface: one, but for moments.
func (c *Cluster) Supervisors() ([]Found, error) { return c.wasmrt("serve") }

// Runners answers the processes that run guests.
func (c *Cluster) Runners() ([]Found, error) { return c.wasmrt("runner") }

// wasmrt answers the processes of petrel-wasmrt that run the given command of it.
func (c *Cluster) wasmrt(command string) ([]Found, error) {
	all, err := c.Processes()
	return slices.DeleteFunc(all, func(f Found) bool {
		return f.Binary != wasmrtBinary || len(f.Args) < 2 || f.Args[1] != command
	}), err
}

// Kill ends the given processes of this cluster by SIGKILL and waits until they are gone.
func (c *Cluster) Kill(ctx context.Context, pids ...int) error {
	all, err := c.Processes()
	if err != nil {
		return err
	}
	which := slices.DeleteFunc(all, func(f Found) bool { return !slices.Contains(pids, f.PID) })
	if len(which) != len(pids) {
		return fmt.Errorf("kill %v: only %v are this cluster's", pids, which)
	}
	return kill9(ctx, c.bin, which)
}

// Stop ends the cluster as Ctrl-C would. A process that outlives that is an error, and is killed.
func (c *Cluster) Stop(ctx context.Context) error {
	defer c.Addresses.release()
	wasRunning := c.process != nil && c.process.Running()
	var stopErr error
	if wasRunning {
		stopErr = c.Interrupt(ctx)
	}
	left, err := c.Processes()
	if err != nil {
		return errors.Join(stopErr, err)
	}
	if len(left) == 0 {
		return stopErr
	}
	if wasRunning {
		stopErr = errors.Join(stopErr, fmt.Errorf("stop cluster: processes outlived petrel up: %v", left))
	}
	return errors.Join(stopErr, kill9(ctx, c.bin, left))
}

// Interrupt ends the cluster as Ctrl-C does and waits for its end.
func (c *Cluster) Interrupt(ctx context.Context) error {
	if err := c.process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if err := c.process.Wait(ctx); err != nil {
		return fmt.Errorf("stop cluster: petrel up after SIGINT: %w; log ends:\n%s", err, Tail(c.LogPath(), 20))
	}
	return nil
}
