package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/join"
	"github.com/petrelrun/petrel/procmem"
	"github.com/petrelrun/petrel/worker"
	"github.com/petrelrun/petrel/worker/identity"
)

// upOptions are the flags of `petrel up`. `petrel controlplane` and `petrel worker` have the ones that concern them.
type upOptions struct {
	DataDir       string
	Listen        string
	GatewayListen string
	PodCIDR       string
	ServiceCIDR   string
	NodeName      string
	EtcdEndpoints []string
	Wasmrt        string
	MaxPods       int
	HostPaths     []string
	Registries    string
	DNS           dnsFlags
	Proxy         serviceFlags
	Keep          nodeFlags
	TLS           bool
	Network       upNetwork
	logOptions

	started time.Time
}

func newUpCommand(io streams) *cobra.Command {
	o := &upOptions{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a cluster of one node",
		Long: `Run a cluster of one node: the control plane and a worker in this process, petrel-wasmrt beside it.

Everything listens on loopback addresses only and needs no privilege. With --network=cluster, which takes root, pods
have addresses of their own and the node runs containers beside Wasm modules where containerd is installed. State is kept in the data directory, so the next
start goes on where this one ended. Ctrl-C ends everything, pods included; when the process is killed instead, pods
run on, and the next start on the same directory adopts them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.started = time.Now()
			if err := o.settleNetwork(cmd.Flags().Changed); err != nil {
				return err
			}
			return o.run(cmd.Context(), io)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data-dir", defaultDataDir(), "directory of all state")
	addListenFlags(f, &o.Listen, &o.GatewayListen)
	addCIDRFlags(f, &o.PodCIDR, &o.ServiceCIDR)
	f.StringVar(&o.NodeName, "node-name", "", "name of the node (default: the host's name)")
	f.StringSliceVar(&o.EtcdEndpoints, "etcd-endpoints", nil, "use this etcd instead of the embedded one")
	o.DNS.addFlags(f)
	o.Network.addFlags(f)
	o.Proxy.addFlags(f)
	o.Keep.addFlags(f)
	f.BoolVar(&o.TLS, "tls", false, "serve TLS and ask for credentials: those of an administrator are in admin.kubeconfig in the data directory")
	addWasmrtFlags(f, &o.Wasmrt, &o.MaxPods, &o.HostPaths, &o.Registries)
	o.addFlags(f)
	return cmd
}

func (o *upOptions) run(ctx context.Context, io streams) (err error) {
	if err := o.Keep.check(); err != nil {
		return err
	}
	if err := o.DNS.check(); err != nil {
		return err
	}
	if err := o.Proxy.check(); err != nil {
		return err
	}
	dir, logger, closeAll, err := o.openIn(o.DataDir, io.Err)
	if err != nil {
		return err
	}
	defer closeAll()
	if o.GatewayListen, err = settlePort(o.GatewayListen); err != nil {
		return err
	}
	if o.Listen, err = settlePort(o.Listen); err != nil {
		return err
	}
	runtime, err := o.runtime(dir, logger)
	if err != nil {
		return err
	}
	cp, err := o.controlPlane(ctx, dir, logger)
	if err != nil {
		return err
	}
	// The parts stop first, the runtime after them: a worker that still ran would see its pods die.
	defer func() {
		err = errors.Join(err, runtime.Stop(), o.Network.stop(), worker.RemoveMemory(dir.join("worker")))
	}()
	o.Network.Containerd.Registries = runtime.Registries
	if o.Network.boxes, err = o.Network.Containerd.settle(ctx, dir, &networkFlags{}, o.Network.clustered(), logger); err != nil {
		return err
	}
	return o.runParts(ctx, io, dir, logger, runtime, cp)
}

func (o *upOptions) runParts(ctx context.Context, io streams, dir *dataDir, logger *slog.Logger, runtime *wasmrt, cp *controlPlane) error {
	published := &publisher{dir: dir, logger: logger}
	runtime.Found = published.found
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return runtime.Run(ctx) })
	group.Go(func() error { return cp.Run(ctx) })
	group.Go(func() error { return o.Network.boxes.Run(ctx) })
	group.Go(func() error { procmem.AfterStart(ctx, logger); return nil })
	group.Go(func() error {
		url, err := cp.address(ctx)
		if err != nil {
			return nil // ctx ended, or Run has the reason
		}
		addresses, err := o.addresses()
		if err != nil {
			return err
		}
		options := workerOptions{
			Server: url, RootDir: dir.join("worker"), Socket: runtime.Socket, Metrics: runtime.Metrics, NodeName: o.NodeName,
			GatewayListen: o.GatewayListen, PodCIDR: o.PodCIDR, ServiceCIDRs: []netip.Prefix{addresses.Services}, DNS: o.DNS,
			MaxPods: o.MaxPods, HostPaths: o.HostPaths, Proxy: o.Proxy, Keep: o.Keep,
		}
		o.Network.tell(&options, addresses)
		if options.Identity, err = cp.joinOwn(ctx, &options, dir.join("identity"), logger); err != nil {
			return err
		}
		node, err := newWorker(options, logger)
		if err != nil {
			return err
		}
		o.Network.node = node
		if options.Identity != nil {
			group.Go(func() error { return options.Identity.Run(ctx) })
		}
		group.Go(func() error { return node.Run(ctx) })
		group.Go(func() error { return o.announce(ctx, io, published, runtime, cp, url) })
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// announce tells people and scripts where everything is, and people when the node is ready.
func (o *upOptions) announce(ctx context.Context, io streams, published *publisher, runtime *wasmrt, cp *controlPlane, url string) error {
	pid, err := runtime.PID(ctx)
	if err != nil {
		return nil // ctx ended
	}
	where := whereabouts{API: url, Gateway: o.GatewayListen, PID: os.Getpid(), WasmrtPID: pid}
	if err := published.up(where); err != nil {
		return err
	}
	client, err := newClient(url, cp.transport(), "petrel-up")
	if err != nil {
		return err
	}
	node, err := awaitNode(ctx, client)
	if err != nil {
		return nil // ctx ended
	}
	hello := greeting{where: where, node: node, took: time.Since(o.started), data: published.dir.path, log: o.logPath(published.dir)}
	if o.TLS {
		hello.kubeconfig = published.dir.join(kubeconfigFile)
	}
	greet(io.Out, hello)
	return nil
}

func (o *upOptions) controlPlane(ctx context.Context, dir *dataDir, logger *slog.Logger) (*controlPlane, error) {
	addresses, err := o.addresses()
	if err != nil {
		return nil, err
	}
	if err := o.checkListen(); err != nil {
		return nil, err
	}
	cfg := controlPlaneConfig{
		DataDir: dir.path, Listen: o.Listen, GatewayListen: o.GatewayListen,
		Addresses: addresses, NodeCIDRs: addresses.nodeCIDRs(), EtcdEndpoints: o.EtcdEndpoints, Logger: logger,
	}
	if o.TLS {
		cfg.TLS = &tlsFlags{Always: true, SigningLife: join.DefaultLife}
	}
	return newControlPlane(ctx, cfg)
}

func (o *upOptions) runtime(dir *dataDir, logger *slog.Logger) (*wasmrt, error) {
	scheme := "http://"
	if o.TLS {
		scheme = "https://"
	}
	runtime, err := newWasmrt(o.Wasmrt, dir.join("wasmrt"), scheme+o.Listen, logger)
	if err != nil {
		return nil, err
	}
	if o.TLS { // the files come when the worker joins, and are read when something is pulled
		runtime.RegistryCA, runtime.RegistryCredential = dir.join("identity", identity.CAName), dir.join("identity", identity.ClientName)
	}
	if runtime.Registries, err = registryDir(o.Registries, dir); err != nil {
		return nil, err
	}
	runtime.AllowPaths, err = allowedPaths(dir.join("worker"), o.HostPaths)
	return runtime, err
}

// allowedPaths are where runners find what pods mount and write their logs, as absolute paths. hostPaths become so too.
func allowedPaths(workerRoot string, hostPaths []string) ([]string, error) {
	for i, dir := range hostPaths {
		var err error
		if hostPaths[i], err = filepath.Abs(dir); err != nil {
			return nil, fmt.Errorf("--allow-host-path: %w", err)
		}
	}
	return append(worker.RunnerDirs(workerRoot), hostPaths...), nil
}

// newWorker makes the node's agent from what both `petrel up` and `petrel worker` know.
func newWorker(o workerOptions, logger *slog.Logger) (*worker.Worker, error) {
	var transport http.RoundTripper
	var serving *tls.Config
	if o.Identity != nil {
		transport, serving = o.Identity.Transport(), o.Identity.ServerTLS()
	}
	client, err := newClient(o.Server, transport, "petrel-worker")
	if err != nil {
		return nil, err
	}
	return worker.New(worker.Config{
		Client: client, NodeName: o.NodeName, MaxPods: o.MaxPods, RuntimeEndpoint: o.Socket, RuntimeMetrics: o.Metrics, SteerSocket: o.SteerSocket, RootDir: o.RootDir, Proxy: o.Proxy.config(),
		PodCIDR: o.PodCIDR, NodeIPs: o.NodeIPs, ServiceCIDRs: o.ServiceCIDRs, ClusterDomain: o.DNS.Domain, ResolvConf: o.DNS.ResolvConf, HostPaths: o.HostPaths, GatewayListen: o.GatewayListen, NodeTLS: serving, Logger: logger.With("room", "worker"),
		ClusterCIDRs: o.Network.Cluster, NetworkBackend: o.Network.Backend, PodMTU: o.Network.MTU, NoMasquerade: !o.Network.Masquerade, CNISocket: o.Network.CNISocket,
		ContainerdEndpoint: o.ContainerdEndpoint, WasmRegistry: api.RegistryHost,
		Housekeeping: o.Keep.keep, StaticPods: o.Keep.staticDir,
	})
}

// settlePort turns port 0 into one that is free now: the parts, and the URLs they write down, have to agree on it
// before anybody listens. Should somebody take it in between, listening fails and says so.
func settlePort(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen address %q: %w", listen, err)
	}
	if port != "0" {
		return listen, nil
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", fmt.Errorf("find a free port on %s: %w", host, err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return port
}
