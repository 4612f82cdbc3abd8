package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/lab"
)

// labStopTimeout bounds the end of a lab's processes. Whatever outlives it goes with its node.
const labStopTimeout = 60 * time.Second

func newLabUpCommand(o *labOptions) *cobra.Command {
	cfg := lab.ClusterConfig{}
	containerd := false
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring a lab up and keep it until Ctrl-C",
		Long: `Bring a lab up and keep it until Ctrl-C: nodes, a control plane on the first, a worker on each. The API is reached from
this machine by the kubeconfig that it tells of. When the lab is killed its nodes end with it; petrel lab down removes
what is left then. The cluster's state stays in the data directory, and the next lab there goes on with it.`,
		Example: "  petrel lab up --nodes 3\n  KUBECONFIG=" + defaultLabDir + "/kubeconfig kubectl get nodes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if containerd {
				cfg.Containers = cfg.Nodes
			}
			return o.up(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Nodes, "nodes", 3, "how many nodes")
	f.IntVar(&cfg.Links, "links", 1, "how many networks the nodes are spread over, with a router between")
	f.BoolVar(&containerd, "containerd", false, "run containers too: each node gets a containerd of its own (it has to be installed)")
	f.BoolVar(&cfg.DualStack, "dual-stack", false, "give nodes and pods addresses of IPv6 too")
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:0", "where this machine reaches the API: a loopback address; port 0 takes a free one")
	f.StringArrayVar(&cfg.ControlPlaneArgs, "controlplane-arg", nil, "further argument for petrel controlplane (may be repeated)")
	f.StringArrayVar(&cfg.WorkerArgs, "worker-arg", nil, "further argument for petrel worker (may be repeated)")
	o.add(cmd)
	return cmd
}

func (o *labOptions) up(ctx context.Context, cfg lab.ClusterConfig) error {
	started := time.Now()
	cfg.Dir = o.dir
	progress := o.Out
	if o.json() {
		progress = o.Err
	}
	cfg.Progress = lines(progress, started)
	cluster, err := lab.NewCluster(cfg)
	if err != nil {
		return err
	}
	if err := cluster.Up(ctx); err != nil {
		return err
	}
	state := cluster.State()
	if o.json() {
		err = writeJSON(o.Out, &state)
	} else {
		tellLab(o.Out, o.dir, &state, time.Since(started))
	}
	if err == nil {
		<-ctx.Done()
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), labStopTimeout)
	defer cancel()
	if closed := cluster.Close(ending); closed != nil {
		return fmt.Errorf("end lab: %w", closed)
	}
	return err
}

// lines prints what happens, with the seconds since the beginning.
func lines(w io.Writer, started time.Time) func(string) {
	var mu sync.Mutex
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "%6.1f s  %s\n", time.Since(started).Seconds(), line)
	}
}

func tellLab(out io.Writer, dir string, s *lab.State, took time.Duration) {
	fmt.Fprintf(out, `the lab is up after %.1f s
  kubectl  export KUBECONFIG=%s
  apps     http://<app>.localhost:%s/
  a node   petrel lab exec %s -- ip address
  outside  petrel lab exec %s -- ip route
  logs     %s/*.log
Stop with Ctrl-C; state is kept.
`, took.Seconds(), s.Kubeconfig, portOf(s.Gateway), s.Nodes[0].Name, routerName, filepath.Join(dir, s.Nodes[0].Name))
}

func newLabDownCommand(o *labOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End a lab, or remove what a killed one left",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.down(cmd.Context()) },
	}
	o.add(cmd)
	return cmd
}

func (o *labOptions) down(ctx context.Context) error {
	found, err := lab.Down(ctx, o.dir)
	if err != nil {
		return err
	}
	if o.json() {
		return writeJSON(o.Out, map[string]any{"dataDir": o.dir, "found": found})
	}
	if !found {
		fmt.Fprintf(o.Out, "no lab in %s\n", o.dir)
		return nil
	}
	fmt.Fprintf(o.Out, "the lab is down; state is kept in %s\n", o.dir)
	return nil
}
