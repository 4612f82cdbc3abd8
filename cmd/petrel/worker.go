package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/petrelrun/petrel/procmem"
	"github.com/petrelrun/petrel/worker"
	"github.com/petrelrun/petrel/worker/identity"
)

// steerSocket is where, in the worker's directory, the runtime hands over its listening sockets.
const steerSocket = "steer.sock"

// workerOptions are the flags of `petrel worker`, and what `petrel up` tells its worker.
type workerOptions struct {
	Server        string
	RootDir       string
	Socket        string
	Metrics       string
	SteerSocket   string // empty: pods' connections are not steered
	NodeName      string
	GatewayListen string
	PodCIDR       string
	NodeIPs       []netip.Addr // none: loopback mode
	ServiceCIDRs  []netip.Prefix
	DNS           dnsFlags
	MaxPods       int
	HostPaths     []string
	Registries    string // directory of registries' settings
	Join          joinFlags
	Identity      *identity.Identity // nil: the API asks nobody who they are
	Network       networkFlags
	Proxy         serviceFlags
	Containerd    containerdFlags
	Keep          nodeFlags
	// ContainerdEndpoint is where containers are run; empty: nowhere.
	ContainerdEndpoint string
}

func newWorkerCommand(io streams) *cobra.Command {
	o := &workerOptions{}
	var dataDir, binary string
	var nodeIPs []string
	var logs logOptions
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run a worker alone",
		Long: `Run a worker alone: the node's agent, its service proxy and gateway, with petrel-wasmrt beside it.

To a control plane that speaks TLS the machine joins with a token, once: it gets certificates of its own, keeps them in
the data directory and renews them. Before the token is sent, the server has to show the certificate authority whose
hash the token carries.

When it ends, pods run on, whatever way it ended, and the next start on the same data directory adopts them.
--stop-pods ends them with it.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", defaultDataDir(), "directory of all state")
	f.StringVar(&o.Server, "server", "http://127.0.0.1:8080", "URL of the API")
	f.StringVar(&o.GatewayListen, "gateway-listen", "127.0.0.1:8081", "where apps are served: a loopback address; port 0 takes a free one")
	f.StringVar(&o.PodCIDR, "pod-cidr", "127.42.0.0/16", "addresses of pods: within 127.0.0.0/8")
	f.StringVar(&o.NodeName, "node-name", "", "name of the node (default: the host's name)")
	f.StringSliceVar(&nodeIPs, "node-ip", nil, "addresses by which other machines reach this one, one of each family (default: a cluster of one machine)")
	o.DNS.addFlags(f)
	o.Network.addFlags(f)
	o.Proxy.addFlags(f)
	o.Proxy.addNodeFlags(f)
	o.Join.addFlags(f)
	o.Containerd.addFlags(f)
	o.Keep.addFlags(f)
	stopPods := f.Bool("stop-pods", false, "end the pods when the worker ends")
	addWasmrtFlags(f, &binary, &o.MaxPods, &o.HostPaths, &o.Registries)
	logs.addFlags(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if o.NodeIPs, err = parseNodeIPs(nodeIPs); err != nil {
			return err
		}
		if len(o.NodeIPs) == 0 {
			if o.NodeIPs, err = addressTowards(o.Server); err != nil {
				return err
			}
		}
		if err := o.Network.parse(o.NodeIPs); err != nil {
			return err
		}
		o.ServiceCIDRs = o.Network.Services
		if err := checkCNISocket(o.Network.CNISocket, len(o.NodeIPs) > 0); err != nil {
			return err
		}
		if err := o.Containerd.check(&o.Network, len(o.NodeIPs) > 0); err != nil {
			return err
		}
		if err := o.Keep.check(); err != nil {
			return err
		}
		if err := o.DNS.check(); err != nil {
			return err
		}
		if err := o.Proxy.check(); err != nil {
			return err
		}
		return runWorker(cmd.Context(), io, o, logs, dataDir, binary, *stopPods)
	}
	return cmd
}

func runWorker(ctx context.Context, io streams, o *workerOptions, logs logOptions, dataDir, binary string, stopPods bool) (err error) {
	dir, logger, closeAll, err := logs.openIn(dataDir, io.Err)
	if err != nil {
		return err
	}
	defer closeAll()
	if o.GatewayListen, err = settlePort(o.GatewayListen); err != nil {
		return err
	}
	if o.Identity, err = joinCluster(ctx, o, dir.join("identity"), io.In, logger); err != nil {
		return err
	}
	runtime, err := newWasmrt(binary, dir.join("wasmrt"), o.Server, logger)
	if err != nil {
		return err
	}
	if o.Identity != nil {
		runtime.RegistryCA, runtime.RegistryCredential = o.Identity.CAFile(), o.Identity.ClientFile()
	}
	if runtime.AllowPaths, err = allowedPaths(dir.join("worker"), o.HostPaths); err != nil {
		return err
	}
	if runtime.Registries, err = registryDir(o.Registries, dir); err != nil {
		return err
	}
	o.Containerd.Registries = runtime.Registries
	o.RootDir, o.Socket, o.Metrics = dir.join("worker"), runtime.Socket, runtime.Metrics
	if len(o.NodeIPs) > 0 {
		o.SteerSocket = dir.join("worker", steerSocket)
		runtime.Steer = o.SteerSocket
	}
	o.Proxy.settle(o.RootDir, len(o.NodeIPs) > 0)
	boxes, err := o.Containerd.settle(ctx, dir, &o.Network, len(o.NodeIPs) > 0, logger)
	if err != nil {
		return err
	}
	boxes.tell(o)
	node, err := newWorker(*o, logger)
	if err != nil {
		return err
	}
	if stopPods {
		defer func() {
			err = errors.Join(err, runtime.Stop(), boxes.Stop(node), node.RemoveNetwork(), node.RemoveProxy(), worker.RemoveMemory(o.RootDir))
		}()
	}
	published := &publisher{dir: dir, logger: logger}
	runtime.Found = published.found
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return runtime.Run(ctx) })
	group.Go(func() error { return boxes.Run(ctx) })
	group.Go(func() error { return node.Run(ctx) })
	group.Go(func() error { procmem.AfterStart(ctx, logger); return nil })
	if o.Identity != nil {
		group.Go(func() error { return o.Identity.Run(ctx) })
	}
	group.Go(func() error {
		pid, err := runtime.PID(ctx)
		if err != nil {
			return nil // ctx ended
		}
		fmt.Fprintf(io.Out, "worker of %s; apps at %s (log: %s)\n", o.Server, o.GatewayListen, dir.join("petrel.log"))
		return published.up(whereabouts{Gateway: o.GatewayListen, PID: os.Getpid(), WasmrtPID: pid})
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
