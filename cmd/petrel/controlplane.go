package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/controlplane/apiserver"
	"github.com/petrelrun/petrel/controlplane/apps"
	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/controller"
	"github.com/petrelrun/petrel/controlplane/join"
	"github.com/petrelrun/petrel/controlplane/registry"
	"github.com/petrelrun/petrel/controlplane/resource"
	"github.com/petrelrun/petrel/controlplane/scheduler"
	"github.com/petrelrun/petrel/controlplane/store"
)

// controlPlaneConfig is what `petrel controlplane` and `petrel up` make of their flags.
type controlPlaneConfig struct {
	DataDir       string
	Listen        string
	GatewayListen string // where apps' URLs point
	Addresses     clusterAddresses
	TLS           *tlsFlags // nil: plain HTTP, on a loopback address
	NodeCIDRs     nodeCIDRFlags
	EtcdEndpoints []string
	Logger        *slog.Logger
}

// controlPlane is the store, the API server and all that reconciles, wired.
type controlPlane struct {
	store     *store.Store
	modules   *registry.Registry
	informers *resource.Informers
	server    *apiserver.Server
	scheduler *scheduler.Scheduler
	manager   *controller.Manager
	apps      *controller.AppController
	events    record.EventBroadcaster
	sink      record.EventSink
	objects   *resource.Registry
	security  *security // nil: plain HTTP
	join      *join.Controller
}

// newControlPlane opens the state and wires the rooms. Run runs them and closes what was opened.
func newControlPlane(ctx context.Context, cfg controlPlaneConfig) (*controlPlane, error) {
	state, err := store.New(store.Config{
		Dir:       filepath.Join(cfg.DataDir, "etcd"),
		Endpoints: cfg.EtcdEndpoints,
		Resources: resource.Stored(),
		Logger:    cfg.Logger.With("room", "store"),
	})
	if err != nil {
		return nil, fmt.Errorf("configure store: %w", err)
	}
	if err := state.Start(ctx); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	cp := &controlPlane{store: state}
	if err := cp.wire(ctx, cfg); err != nil {
		return nil, errors.Join(err, cp.close())
	}
	return cp, nil
}

func (cp *controlPlane) wire(ctx context.Context, cfg controlPlaneConfig) error {
	rules := resource.Config{Store: cp.store, ServiceCIDR: cfg.Addresses.Services, Logger: cfg.Logger.With("room", "resource")}
	serving := apiserver.Config{Listen: cfg.Listen, Logger: cfg.Logger.With("room", "apiserver")}
	if cfg.TLS != nil {
		rules.SecureAPI, rules.Admission = true, join.Restriction{}
	}
	objects, err := resource.New(rules)
	if err != nil {
		return err
	}
	cp.objects, cp.informers = objects, resource.NewInformers(objects)
	if cfg.TLS != nil {
		if err := cp.secure(ctx, &cfg, objects, &serving); err != nil {
			return err
		}
	}
	modules := filepath.Join(cfg.DataDir, "registry")
	if err := os.MkdirAll(modules, 0o700); err != nil {
		return fmt.Errorf("make registry directory: %w", err)
	}
	cp.modules, err = registry.New(registry.Config{
		Dir: modules, Logger: cfg.Logger.With("room", "registry"),
	})
	if err != nil {
		return err
	}
	cp.events, cp.sink = record.NewBroadcaster(), objects.Client("petrel-events").EventSink()
	deploys, err := cp.wireDeploys(cfg, objects)
	if err != nil {
		return err
	}
	if err := cp.wireReconcilers(cfg, objects, deploys); err != nil {
		return err
	}
	serving.Registry, serving.Advertise = objects, cfg.Addresses.Advertise
	serving.Mounts = map[string]http.Handler{"/v1/": deploys, "/v2/": cp.modules}
	cp.server, err = apiserver.New(serving)
	return err
}

// secure opens the authorities and has the API speak TLS, ask for credentials, and let machines join.
func (cp *controlPlane) secure(ctx context.Context, cfg *controlPlaneConfig, objects *resource.Registry, serving *apiserver.Config) (err error) {
	if !cfg.Addresses.Advertise.IsValid() {
		if cfg.Addresses.Advertise, err = advertised(cfg.Listen); err != nil {
			return err
		}
	}
	if cp.security, err = openSecurity(ctx, *cfg, objects.KubernetesAddress()); err != nil {
		return err
	}
	s := cp.security
	cp.join, err = join.New(join.Config{
		Client: objects.Client("petrel-join"), Informers: cp.informers, Cluster: s.cluster, Nodes: s.nodes,
		Life: cfg.TLS.SigningLife, Logger: cfg.Logger.With("room", "join"),
	})
	if err != nil {
		return err
	}
	serving.TLS, serving.NodeTLS = s.serverTLS(), s.nodesTLS()
	serving.Authenticator = &auth.Credentials{
		Clients: s.cluster.Pool(), Tokens: append([]auth.Tokens{&auth.BootstrapTokens{Lookup: cp.join.BootstrapToken}}, s.tokens...),
	}
	serving.Authorizer = &auth.Members{NodeReads: cp.join.NodeReads}
	return nil
}

// address waits until the API listens and answers its URL on this machine.
func (cp *controlPlane) address(ctx context.Context) (string, error) {
	addr, err := cp.server.Addr(ctx)
	if err != nil {
		return "", err
	}
	if cp.security == nil {
		return "http://" + addr.String(), nil
	}
	if addr.Addr().IsUnspecified() {
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	}
	return "https://" + addr.String(), nil
}

// wireDeploys makes the deploy API, which is mounted beside the Kubernetes API.
func (cp *controlPlane) wireDeploys(cfg controlPlaneConfig, objects *resource.Registry) (*apps.Server, error) {
	spool := filepath.Join(cfg.DataDir, "spool")
	// What an upload left there when the last process was killed belongs to no request any more.
	if err := errors.Join(os.RemoveAll(spool), os.MkdirAll(spool, 0o700)); err != nil {
		return nil, fmt.Errorf("prepare spool directory: %w", err)
	}
	logs := &apiLogs{address: cp.address, transport: cp.transport()}
	return apps.New(apps.Config{
		Client:        objects.Client("petrel-apps"),
		Informers:     cp.informers,
		Modules:       cp.modules,
		Logs:          logs,
		Gateway:       apps.NewHTTPGateway(func() string { return cfg.GatewayListen }),
		URL:           apps.URLs(cfg.GatewayListen),
		SpoolDir:      spool,
		RegistryHosts: []string{cfg.Listen},
		Logger:        cfg.Logger.With("room", "apps"),
	})
}

func (cp *controlPlane) wireReconcilers(cfg controlPlaneConfig, objects *resource.Registry, deploys *apps.Server) error {
	recorder := func(component string) record.EventRecorder {
		return cp.events.NewRecorder(resource.Scheme(), corev1.EventSource{Component: component})
	}
	var err error
	cp.scheduler, err = scheduler.New(scheduler.Config{
		Client: objects.Client("petrel-scheduler"), Informers: cp.informers,
		Recorder: recorder("default-scheduler"), Logger: cfg.Logger.With("room", "scheduler"),
	})
	if err != nil {
		return err
	}
	base := controller.Config{
		Client: objects.Client("petrel-controllers"), Informers: cp.informers,
		Recorder: recorder("petrel-controllers"), Logger: cfg.Logger.With("room", "controller"),
		ClusterCIDRs: cfg.Addresses.Pods, NodeCIDRMaskSizeIPv4: cfg.NodeCIDRs.MaskSizeIPv4, NodeCIDRMaskSizeIPv6: cfg.NodeCIDRs.MaskSizeIPv6,
	}
	if cp.manager, err = controller.New(base); err != nil {
		return err
	}
	cp.apps, err = controller.NewApps(controller.AppConfig{Config: base, URL: apps.URLs(cfg.GatewayListen), Resolve: deploys.Resolve})
	return err
}

// Run runs everything until ctx ends or a part fails, and closes the state.
func (cp *controlPlane) Run(ctx context.Context) error {
	cp.events.StartRecordingToSink(cp.sink)
	group, ctx := errgroup.WithContext(ctx)
	parts := []func(context.Context) error{
		cp.store.Run, cp.informers.Run, cp.server.Run, cp.scheduler.Run, cp.manager.Run, cp.apps.Run,
	}
	if cp.security != nil {
		parts = append(parts, cp.security.Run, cp.join.Run)
	}
	for _, part := range parts {
		group.Go(func() error { return part(ctx) })
	}
	err := group.Wait()
	cp.events.Shutdown()
	return errors.Join(err, cp.close())
}

func (cp *controlPlane) close() error {
	var err error
	if cp.modules != nil {
		err = cp.modules.Close()
	}
	return errors.Join(err, cp.store.Close())
}
