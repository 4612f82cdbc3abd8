package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// controlPlaneOptions are the flags of `petrel controlplane`.
type controlPlaneOptions struct {
	DataDir       string
	Listen        string
	GatewayListen string
	EtcdEndpoints []string
	clusterFlags
	NodeCIDRs nodeCIDRFlags
	logOptions
}

func newControlPlaneCommand(io streams) *cobra.Command {
	o := &controlPlaneOptions{}
	cmd := &cobra.Command{
		Use:   "controlplane",
		Short: "Run the control plane alone",
		Long: `Run the control plane alone: API server, scheduler, controllers and module registry. Workers join it with
petrel worker --server. It listens on loopback only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), io) },
	}
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data-dir", defaultDataDir(), "directory of all state")
	addListenFlags(f, &o.Listen, &o.GatewayListen)
	f.Lookup("gateway-listen").Usage = "where the worker serves apps: what their URLs point to"
	o.clusterFlags.addFlags(f)
	o.NodeCIDRs.addFlags(f)
	f.StringSliceVar(&o.EtcdEndpoints, "etcd-endpoints", nil, "use this etcd instead of the embedded one")
	o.logOptions.addFlags(f)
	return cmd
}

func (o *controlPlaneOptions) run(ctx context.Context, io streams) error {
	addresses, err := o.parse()
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
	cp, err := newControlPlane(ctx, controlPlaneConfig{
		DataDir: dir.path, Listen: o.Listen, GatewayListen: o.GatewayListen,
		Addresses: addresses, NodeCIDRs: o.NodeCIDRs, EtcdEndpoints: o.EtcdEndpoints, Logger: logger,
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return cp.Run(ctx) })
	group.Go(func() error {
		addr, err := cp.server.Addr(ctx)
		if err != nil {
			return nil // ctx ended, or Run has the reason
		}
		url := "http://" + addr.String()
		fmt.Fprintf(io.Out, "API at %s (log: %s)\n", url, dir.join("petrel.log"))
		return dir.publish(whereabouts{API: url, PID: os.Getpid()})
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
