package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/kernel"
)

// proxyOptions are the flags of `petrel proxy`. Those that kube-proxy has as well have its names, meanings and defaults.
type proxyOptions struct {
	Kubeconfig    string
	Master        string
	Hostname      string
	ClusterCIDRs  []string
	NodePorts     []string
	Metrics       string
	Healthz       string
	Mode          string
	Cleanup       bool
	QPS           float32
	Burst         int
	Cgroup        string
	PinDir        string
	NoPins        bool
	StateFile     string
	Interfaces    []string
	LogLevel      string
	inside, nodes []netip.Prefix
	mode          service.Mode
}

func newProxyCommand(io streams) *cobra.Command {
	o := &proxyOptions{}
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Serve the Services of any Kubernetes cluster on this node, in place of kube-proxy",
		Long: `Serve the Services of any Kubernetes cluster on this node, in place of kube-proxy.

Connections find their endpoints through eBPF programs in the kernel; where those cannot be had, a proxy in user space
serves and says what is missing. What the kernel was given serves on while the proxy is restarted; --cleanup takes it
away. See docs/proxy.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), io) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *proxyOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig file (default: the pod's service account)")
	f.StringVar(&o.Master, "master", "", "URL of the API, in place of the kubeconfig's")
	f.StringVar(&o.Hostname, "hostname-override", "", "name of this node (default: the host's name)")
	f.StringSliceVar(&o.ClusterCIDRs, "cluster-cidr", nil, "addresses of pods: clients that are not from outside")
	f.StringSliceVar(&o.NodePorts, "nodeport-addresses", nil, "networks of the addresses that node ports are at (default: all addresses of the machine)")
	f.StringVar(&o.Metrics, "metrics-bind-address", "127.0.0.1:10249", "where metrics are served; empty for nowhere")
	f.StringVar(&o.Healthz, "healthz-bind-address", "0.0.0.0:10256", "where health is served; empty for nowhere")
	f.StringVar(&o.Mode, "proxy-mode", string(service.Auto), "auto, ebpf or userspace")
	f.BoolVar(&o.Cleanup, "cleanup", false, "take away what the proxy has put into the kernel, and end")
	f.Float32Var(&o.QPS, "kube-api-qps", 5, "requests a second to the API")
	f.IntVar(&o.Burst, "kube-api-burst", 10, "requests to the API that may come at once")
	f.StringVar(&o.Cgroup, "cgroup", "", "control group whose programs reach services (default: the root of the cgroup2 file system)")
	f.StringVar(&o.PinDir, "pin-dir", "", "folder on a bpffs for what serves on while the proxy is restarted (default: /sys/fs/bpf/petrel/proxy where that is a bpffs)")
	f.BoolVar(&o.NoPins, "no-pins", false, "let what is in the kernel end with the proxy")
	f.StringVar(&o.StateFile, "state-file", "", "file for the table of services, to serve from at the next start while the API is away")
	f.StringSliceVar(&o.Interfaces, "interfaces", nil, "interfaces at which clients from outside come in (default: all that do not lead to pods)")
	f.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
}

// settle reads the flags' values and fills in what was left open.
func (o *proxyOptions) settle() (err error) {
	if o.mode, err = service.ParseMode(o.Mode); err != nil {
		return fmt.Errorf("--proxy-mode: %w", err)
	}
	if o.inside, err = parsePrefixes("--cluster-cidr", o.ClusterCIDRs); err != nil {
		return err
	}
	if o.nodes, err = parsePrefixes("--nodeport-addresses", o.NodePorts); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find host name: %w", err)
	}
	o.Hostname = strings.ToLower(strings.TrimSpace(cmp.Or(o.Hostname, host)))
	switch {
	case o.NoPins && o.PinDir != "":
		return errors.New("--no-pins and --pin-dir exclude each other")
	case !o.NoPins && o.PinDir == "":
		if root, err := kernel.PinRoot(); err == nil {
			o.PinDir = filepath.Join(root, "petrel", "proxy")
		}
	}
	return nil
}

func (o *proxyOptions) machine(logger *slog.Logger) kernel.Machine {
	m := kernel.Machine{Cgroup: o.Cgroup, PinDir: o.PinDir, Interfaces: kernel.ExternalInterfaces, Logger: logger}
	if len(o.Interfaces) > 0 {
		m.Interfaces = func() ([]string, error) { return o.Interfaces, nil }
	}
	return m
}

func (o *proxyOptions) run(ctx context.Context, io streams) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	logger := slog.New(slog.NewTextHandler(io.Err, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(logger)
	if err := o.settle(); err != nil {
		return err
	}
	if o.Cleanup {
		return o.machine(logger).Remove()
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	return o.serve(ctx, client, logger)
}

func (o *proxyOptions) serve(ctx context.Context, client kubernetes.Interface, logger *slog.Logger) error {
	nodes := func() ([]netip.Addr, error) { return kernel.NodeAddresses(o.nodes) }
	addrs, err := nodes()
	if err != nil {
		return err
	}
	recorder, stop := o.recorder(ctx, client)
	defer stop()
	path, err := kernel.New(kernel.Config{Proxy: o.machine(logger).Programs(), Addresses: nodes, Logger: logger})
	if err != nil {
		return err
	}
	cfg := service.Config{
		Client: client, NodeName: o.Hostname, StateFile: o.StateFile, Kernel: path, Mode: o.mode, NodeAddrs: addrs,
		Inside: o.inside, HealthzListen: o.Healthz, Recorder: recorder, Logger: logger,
	}
	if len(o.nodes) > 0 {
		cfg.HealthAddrs = addrs
	}
	if o.mode == service.Userspace {
		if err := o.machine(logger).Remove(); err != nil { // they would go on serving what was, beside what is
			logger.Warn("eBPF programs of an earlier run were not removed", "error", err)
		}
	}
	server, err := service.New(cfg)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(server, path)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx) })
	if o.Metrics != "" {
		group.Go(func() error { return serveProxyMetrics(ctx, o.Metrics, registry, server) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
