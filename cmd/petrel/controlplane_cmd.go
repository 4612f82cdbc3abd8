package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/petrelrun/petrel/procmem"
)

// controlPlaneOptions are the flags of `petrel controlplane`.
type controlPlaneOptions struct {
	DataDir       string
	Listen        string
	GatewayListen string
	EtcdEndpoints []string
	clusterFlags
	NodeCIDRs nodeCIDRFlags
	TLS       tlsFlags
	logOptions
}

func newControlPlaneCommand(io streams) *cobra.Command {
	o := &controlPlaneOptions{}
	cmd := &cobra.Command{
		Use:   "controlplane",
		Short: "Run the control plane alone",
		Long: `Run the control plane alone: API server, scheduler, controllers and module registry. Workers join it with
petrel worker --server.

On a loopback address it speaks plain HTTP and asks nobody who they are, unless --tls is given. Beyond loopback it
speaks TLS only, with a certificate authority of its own below the data directory, and asks for credentials: those of
an administrator are in admin.kubeconfig in the data directory, and machines join with what petrel token create prints.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), io) },
	}
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data-dir", defaultDataDir(), "directory of all state")
	addListenFlags(f, &o.Listen, &o.GatewayListen)
	f.Lookup("gateway-listen").Usage = "where the worker serves apps: what their URLs point to"
	f.Lookup("listen").Usage = "where the API is served; port 0 takes a free one"
	o.clusterFlags.addFlags(f)
	o.TLS.addFlags(f)
	o.NodeCIDRs.addFlags(f)
	f.StringSliceVar(&o.EtcdEndpoints, "etcd-endpoints", nil, "use this etcd instead of the embedded one")
	o.logOptions.addFlags(f)
	return cmd
}

func (o *controlPlaneOptions) run(ctx context.Context, io streams) error {
	addresses, err := o.parse()
	if err == nil {
		err = addresses.reachable(o.Listen)
	}
	if err != nil {
		return err
	}
	dir, logger, closeAll, err := o.openIn(o.DataDir, io.Err)
	if err != nil {
		return err
	}
	defer closeAll()
	if o.Listen, err = settlePort(o.Listen); err != nil {
		return err
	}
	cfg := controlPlaneConfig{
		DataDir: dir.path, Listen: o.Listen, GatewayListen: o.GatewayListen,
		Addresses: addresses, NodeCIDRs: o.NodeCIDRs, EtcdEndpoints: o.EtcdEndpoints, Logger: logger,
	}
	secure, err := o.TLS.wanted(o.Listen)
	if err != nil {
		return err
	}
	if secure {
		cfg.TLS = &o.TLS
	}
	cp, err := newControlPlane(ctx, cfg)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return cp.Run(ctx) })
	group.Go(func() error { procmem.AfterStart(ctx, logger); return nil })
	group.Go(func() error {
		url, err := cp.address(ctx)
		if err != nil {
			return nil // ctx ended, or Run has the reason
		}
		fmt.Fprintf(io.Out, "API at %s (log: %s)\n", url, dir.join("petrel.log"))
		return dir.publish(whereabouts{API: url, PID: os.Getpid()})
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
