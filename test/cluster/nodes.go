package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/petrelrun/petrel/lab"
)

// Nodes is a cluster of several nodes, each a machine of a lab.
type Nodes struct {
	ground
	Lab *lab.Cluster
}

// ErrUnsupported says that this machine, or this user, cannot have a cluster of several nodes.
var ErrUnsupported = lab.ErrUnsupported

// StartNodes starts a cluster of so many nodes on so many links and waits until all are Ready. o.Args are added to
// `petrel worker`.
func StartNodes(ctx context.Context, o Options, nodes, links int, progress func(line string)) (*Nodes, error) {
	g, err := newGround(o)
	if err != nil {
		return nil, err
	}
	n := &Nodes{ground: g}
	n.Lab, err = lab.NewCluster(lab.ClusterConfig{
		Config:     lab.Config{Dir: filepath.Join(o.Dir, "lab"), Nodes: nodes, Links: links, Program: g.Petrel(), Progress: progress},
		WorkerArgs: append(undisturbed(), o.Args...), ControlPlaneArgs: o.ControlPlaneArgs, Containers: o.Containers, DualStack: o.DualStack,
	})
	if err == nil {
		err = n.Lab.Up(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, n.stop(context.WithoutCancel(ctx)))
	}
	return n, nil
}

// Cluster is the same cluster as its clients see it. It must be stopped as Nodes.
func (n *Nodes) Cluster() *Cluster {
	s := n.Lab.State()
	return &Cluster{ground: n.ground, State: State{API: s.API, Gateway: s.Gateway}, Kubeconfig: s.Kubeconfig,
		logs: []string{n.LogPath(0, lab.ControlPlane), n.LogPath(0, lab.Worker)}}
}

// LogPath is where a process of the i-th node, counted from 0, writes.
func (n *Nodes) LogPath(i int, process string) string { return n.Lab.Nodes()[i].LogPath(process) }

// HTTP answers a client that is on the i-th node, counted from 0.
func (n *Nodes) HTTP(i int) *http.Client {
	return &http.Client{Timeout: readyLimit, Transport: &http.Transport{
		// A connection of its own for each request: Services balance connections.
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, fmt.Errorf("dial %s: a client on a node needs an address: %w", address, err)
			}
			return n.Lab.Nodes()[i].Dial(ctx, to)
		},
	}}
}

// Stop ends the cluster in order. A process that outlives that is an error, and is killed.
func (n *Nodes) Stop(ctx context.Context) error {
	err := n.Lab.Close(ctx)
	left, found := n.Processes()
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("stop cluster: processes outlived it: %v", left))
	}
	return errors.Join(err, found, n.stop(ctx))
}

// restConfig is how a client is let in.
func (c *Cluster) restConfig() (*rest.Config, error) {
	config := &rest.Config{Host: c.State.API}
	if c.Kubeconfig != "" {
		var err error
		if config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
			return nil, fmt.Errorf("read kubeconfig: %w", err)
		}
	}
	config.QPS, config.UserAgent = -1, "petrel-test"
	return config, nil
}
