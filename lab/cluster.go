package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Names of the processes of a cluster: the control plane is on the first node, a worker on each. The worker starts
// petrel-wasmrt beside itself.
const (
	ControlPlane = "controlplane"
	Worker       = "worker"
)

// apiPort is where the control plane listens on its node.
const apiPort = 6443

// Limits on waiting, far above what is normal, so that they say "broken", not "slow machine".
const (
	apiLimit  = 3 * time.Minute
	joinLimit = 3 * time.Minute
	pollPause = 50 * time.Millisecond
)

// ClusterConfig says what cluster there is to be.
type ClusterConfig struct {
	Config
	// Petrel is the petrel program; empty: Program, or this one.
	Petrel string
	// Listen is where the relay to the API listens, a loopback address; empty: 127.0.0.1, any port.
	Listen string
	// Containers is how many nodes, the first ones, run containers too, each with a containerd of its own; it has to be
	// installed.
	Containers int
	// DualStack gives nodes and pods addresses of IPv6 too.
	DualStack bool
	// ControlPlaneArgs and WorkerArgs are further flags for the two.
	ControlPlaneArgs, WorkerArgs []string
}

// Cluster is a Petrel cluster on a lab.
type Cluster struct {
	*Lab
	cfg     ClusterConfig
	gateway uint16 // the port of apps, the same on loopback and on every node, so that their URLs hold everywhere
	client  *kubernetes.Clientset
}

// NewCluster makes a cluster. It does no I/O.
func NewCluster(cfg ClusterConfig) (*Cluster, error) {
	l, err := New(cfg.Config)
	if err != nil {
		return nil, err
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if at, err := netip.ParseAddrPort(cfg.Listen); err != nil || !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("configure lab: relay at %q: want a loopback address and a port", cfg.Listen)
	}
	return &Cluster{Lab: l, cfg: cfg}, nil
}

// Up brings the cluster up and returns when every node is Ready. When it fails, all is as it was.
func (c *Cluster) Up(ctx context.Context) (err error) {
	if c.cfg.Petrel == "" {
		c.cfg.Petrel = c.cfg.Program
	}
	if c.cfg.Petrel == "" {
		if c.cfg.Petrel, err = os.Executable(); err != nil {
			return fmt.Errorf("find petrel: %w", err)
		}
	}
	if err := c.Open(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{c.relayApps, c.upControlPlane, c.upWorkers} {
		if err := step(ctx); err != nil {
			return errors.Join(err, c.Close(context.WithoutCancel(ctx)))
		}
	}
	return nil
}

// relayApps takes a port on loopback for apps, which the gateways then listen on, each on its node.
func (c *Cluster) relayApps(context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for apps: %w", err)
	}
	c.gateway = listener.Addr().(*net.TCPAddr).AddrPort().Port()
	first := c.nodes[0]
	at := c.relay(listener, first, netip.AddrPortFrom(first.Addresses[0], c.gateway))
	return c.save(func(s *State) { s.Gateway = at.String() })
}

// upControlPlane starts the control plane and waits until it answers kubectl's way, over the relay.
func (c *Cluster) upControlPlane(ctx context.Context) error {
	first := c.nodes[0]
	api := netip.AddrPortFrom(first.Addresses[0], apiPort)
	data := filepath.Join(first.Dir, ControlPlane)
	args := append([]string{ControlPlane, "--data-dir", data, "--log-file", "-", "--listen", api.String(), "--tls", "--tls-san", "127.0.0.1",
		"--gateway-listen", c.gatewayOn(first), "--cluster-cidr", c.podNetworks()}, c.cfg.ControlPlaneArgs...)
	if err := first.Start(ControlPlane, c.cfg.Petrel, args...); err != nil {
		return err
	}
	at, err := c.Relay(c.cfg.Listen, first, api)
	if err != nil {
		return err
	}
	err = c.waitFor(ctx, apiLimit, "the API to be ready", first, ControlPlane, func(ctx context.Context) error {
		if c.client == nil {
			if err := c.letIn(filepath.Join(data, adminFile), "https://"+at.String()); err != nil {
				return err
			}
		}
		return c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err == nil {
		c.cfg.Progress("control plane up on " + first.Name)
	}
	return err
}

func (c *Cluster) gatewayOn(n *Node) string {
	return net.JoinHostPort(n.Addresses[0].String(), strconv.Itoa(int(c.gateway)))
}

// podNetworks are where pods get their addresses.
func (c *Cluster) podNetworks() string {
	if c.cfg.DualStack {
		return "10.42.0.0/16,fd42::/48"
	}
	return "10.42.0.0/16"
}

// nodeIPs are the node's addresses of the families that pods have.
func (c *Cluster) nodeIPs(n *Node) string {
	if !c.cfg.DualStack {
		return n.Addresses[0].String()
	}
	var all []string
	for _, a := range n.Addresses {
		all = append(all, a.String())
	}
	return strings.Join(all, ",")
}

// upWorkers starts a worker on each node and waits until all are Ready.
func (c *Cluster) upWorkers(ctx context.Context) error {
	token, err := c.token(ctx)
	if err != nil {
		return err
	}
	server := "https://" + netip.AddrPortFrom(c.nodes[0].Addresses[0], apiPort).String()
	group, ctx := errgroup.WithContext(ctx)
	for i, n := range c.nodes {
		group.Go(func() error {
			containerd := "off"
			if i < c.cfg.Containers {
				containerd = "own"
			}
			args := append([]string{Worker, "--data-dir", filepath.Join(n.Dir, Worker), "--log-file", "-", "--server", server, "--token", token,
				"--node-name", n.Name, "--node-ip", c.nodeIPs(n), "--gateway-listen", c.gatewayOn(n), "--containerd", containerd}, c.cfg.WorkerArgs...)
			if err := n.Start(Worker, c.cfg.Petrel, args...); err != nil {
				return err
			}
			if err := c.WaitReady(ctx, n.Name); err != nil {
				return err
			}
			c.cfg.Progress(fmt.Sprintf("%s ready: %s on link %d", n.Name, n.Addresses[0], n.Link+1))
			return nil
		})
	}
	return group.Wait()
}

// waitFor tries a condition until it holds, the time is up, or the process that it waits for has ended.
func (c *Cluster) waitFor(ctx context.Context, limit time.Duration, what string, n *Node, process string, condition func(context.Context) error) error {
	ended, err := n.Ended(process)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s on %s has ended; %s says:\n%s", process, n.Name, n.LogPath(process), tail(n.LogPath(process)))
		case <-ctx.Done():
			return fmt.Errorf("wait %s for %s: %w; %s says:\n%s", limit, what, err, n.LogPath(process), tail(n.LogPath(process)))
		case <-time.After(pollPause):
		}
	}
}

// Client is a client of the cluster's API for whoever runs the lab, without a limit on its requests.
func (c *Cluster) Client() (*kubernetes.Clientset, error) {
	config, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func (c *Cluster) restConfig() (*rest.Config, error) { return clientConfig(c.State().Kubeconfig) }
