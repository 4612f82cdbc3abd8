package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/confine"
	"github.com/petrelrun/petrel/worker/csi"
	"github.com/petrelrun/petrel/worker/env"
	"github.com/petrelrun/petrel/worker/network"
	"github.com/petrelrun/petrel/worker/node"
	"github.com/petrelrun/petrel/worker/probe"
	"github.com/petrelrun/petrel/worker/runtimes"
	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/catalog"
	"github.com/petrelrun/petrel/worker/service/feed"
	"github.com/petrelrun/petrel/worker/stats"
	"github.com/petrelrun/petrel/worker/steer"
	"github.com/petrelrun/petrel/worker/volume"
	"github.com/petrelrun/petrel/worker/volume/follow"
)

// Worker is the node's agent.
type Worker struct {
	cfg      Config
	set      *runtimes.Set
	pool     *network.Network
	metrics  *metrics
	guard    *guard
	groups   *confine.Groups
	steering *steer.Service
	catalog  *catalog.Catalog

	versions    runtimeVersions
	runtimeSeen atomic.Int64 // when petrel-wasmrt last answered, in nanoseconds of Unix time
	runtimeUp   atomic.Bool  // it answered once and what ran was taken over
	// containers are containerd's handlers, once it was met.
	containers atomic.Pointer[[]string]
	// sandboxImage is what containerd makes sandboxes of, as far as it tells; set before containers.
	sandboxImage atomic.Pointer[string]
	images       imageList

	mu       sync.Mutex
	nodeAddr netip.AddrPort
	nodeUp   chan struct{}
	services *service.Server
}

// New makes a worker; it does nothing before Run.
func New(cfg Config) (*Worker, error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	w := &Worker{cfg: cfg, metrics: newMetrics(), nodeUp: make(chan struct{})}
	w.guard = newGuard(&w.cfg, w.metrics)
	pods, err := cfg.podNetwork()
	if err != nil {
		return nil, err
	}
	pods.Endpoints = w.guard.setDevices
	if w.pool, err = network.New(pods); err != nil {
		return nil, err
	}
	w.guard.podCIDRs = w.pool.PodCIDRs
	if w.steering, err = w.newSteering(); err != nil {
		return nil, err
	}
	w.catalog = catalog.New(cfg.Client)
	if w.groups, err = confine.NewGroups(cgroupMount, cfg.CgroupRoot); err != nil {
		return nil, err
	}
	w.set, err = w.newRuntimes()
	return w, err
}

// NodeAddr is where the node's HTTP server listens; it waits until it does.
func (w *Worker) NodeAddr(ctx context.Context) (netip.AddrPort, error) {
	select {
	case <-w.nodeUp:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.nodeAddr, nil
	case <-ctx.Done():
		return netip.AddrPort{}, ctx.Err()
	}
}

// GatewayAddr is where app URLs are served; it waits until they are.
func (w *Worker) GatewayAddr(ctx context.Context) (net.Addr, error) {
	if _, err := w.NodeAddr(ctx); err != nil { // the services are made before the node listens
		return nil, err
	}
	return w.services.GatewayAddr(ctx)
}

// Run is the worker until ctx ends. The pods go on without it.
func (w *Worker) Run(ctx context.Context) error {
	defer w.set.Close()
	files := paths(w.cfg.RootDir)
	for _, dir := range []string{files.pods(), files.localVolumes()} {
		if err := os.MkdirAll(dir, passDir); err != nil {
			return fmt.Errorf("make root directory: %w", err)
		}
	}
	if err := w.pool.Open(ctx); err != nil {
		return fmt.Errorf("open pod network: %w", err)
	}
	defer w.pool.Close()
	group, ctx := errgroup.WithContext(quietly(ctx, w.cfg.Logger))
	events := newEvents(ctx, w.cfg.Client, w.cfg.NodeName)
	defer events.broadcaster.Shutdown()
	services, err := w.newServices(files, events)
	if err != nil {
		return err
	}
	names, err := w.newDNS(events, files)
	if err != nil {
		return err
	}
	m := w.newManager(ctx, events, services, files)
	m.naming, m.guard = w.newNaming(names), w.guard
	poke := func() {}
	m.drivers, err = csi.New(csi.Config{
		Changed: func() { poke() },
		Client:  w.cfg.Client, NodeName: w.cfg.NodeName, RegistryDir: files.plugins(), StageDir: files.staged(), PodsDir: files.pods(), Logger: w.cfg.Logger,
	})
	if err != nil {
		return err
	}
	if err := w.newStats(m); err != nil {
		return err
	}
	defer m.usage.Close()
	w.metrics.registry.MustRegister(newPodsCollector(m), newKubeletCollector(m), stats.NewVolumeCollector(m.allVolumes))
	agentConfig := w.nodeConfig()
	agentConfig.VolumesInUse = m.drivers.InUse
	keeper, err := w.newHousekeeper(m, func() { poke() })
	if err != nil {
		return err
	}
	agentConfig.Pressure = keeper.pressure.Holds
	agentConfig.Event = func(reason string) { events.nodeChanged(w.cfg.NodeName, reason) }
	events.nodeStarts(w.cfg.NodeName)
	agent, err := node.New(agentConfig)
	if err != nil {
		return err
	}
	poke = agent.Poke
	m.allocatable = agent.Allocatable
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", w.cfg.NodeListen)
	if err != nil {
		return fmt.Errorf("listen for node server: %w", err)
	}
	w.mu.Lock()
	w.nodeAddr, w.services = listener.Addr().(*net.TCPAddr).AddrPort(), services
	w.mu.Unlock()
	close(w.nodeUp)

	group.Go(func() error { return w.pool.Run(ctx) })
	group.Go(func() error { w.followNodes(ctx, m, agent.Poke); return nil })
	group.Go(func() error { return w.serveCNI(ctx) })
	group.Go(func() error { return m.drivers.Run(ctx) })
	group.Go(func() error { w.catalog.Run(ctx); return nil })
	group.Go(func() error { return services.Run(ctx) })
	group.Go(func() error { return w.steering.Run(ctx) })
	group.Go(func() error { return names.Run(ctx) })
	group.Go(func() error { return newNodeServer(m, w.cfg.NodeName, w.cfg.Logger).serve(ctx, listener) })
	group.Go(func() error { return agent.Run(ctx) })
	group.Go(func() error { m.statuses.run(ctx); return nil })
	group.Go(func() error { m.keepStorageLimits(ctx); return nil })
	group.Go(func() error { newEraser(w.cfg.Client, files.localVolumes(), w.cfg.Logger).run(ctx); return nil })
	group.Go(func() error { return w.runPods(ctx, m, agent, keeper) })
	err = group.Wait()
	m.close()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (w *Worker) newManager(ctx context.Context, events *events, services *service.Server, files paths) *manager {
	m := &manager{
		cfg: &w.cfg, rt: w.set, members: w.set.Members(), checkHandler: w.checkHandler, paths: files, pool: w.pool, groups: w.groups,
		puller: &puller{rt: w.set, ctx: ctx, book: &pulledBook{path: files.pulled(), log: w.cfg.Logger}}, events: events, statuses: newStatusWriter(w.cfg.Client, w.metrics),
		metrics: w.metrics, log: w.cfg.Logger, ctx: ctx, starts: make(chan struct{}, maxStarts), files: make(chan struct{}, maxFileWork), volumes: make(chan struct{}, maxVolumeWork),
		leave: services.Leave, arrive: services.Arrive, hostPorts: &hostPorts{server: services, owners: map[types.UID]portOwner{}},
		baseEnv: func() []env.Var { return kubernetesEnv(services) }, services: services.In,
		trim: newTrimmer(), follower: follow.New(ctx, w.cfg.Client), memory: volume.NewMemory(files.memoryPods(), w.cfg.Logger),
		actors: map[types.UID]*actor{}, names: map[types.NamespacedName]types.UID{}, unclaimed: map[types.UID]bool{},
	}
	m.actions = probe.NewActions(m.exec)
	m.prober = probe.NewProber(m.actions)
	m.static = newStaticKeeper(m)
	m.statuses.current = func(uid types.UID) *corev1.Pod {
		if mirror := m.static.mirror(uid); mirror != nil {
			return mirror
		}
		return m.newest(uid)
	}
	return m
}

func (w *Worker) nodeConfig() node.Config {
	return node.Config{
		Client: w.cfg.Client, Name: w.cfg.NodeName, Addresses: w.cfg.NodeIPs, MaxPods: w.cfg.MaxPods, Labels: w.nodeLabels(),
		Annotations: map[string]string{annotationLocalPath: paths(w.cfg.RootDir).localVolumes()},
		Version:     w.cfg.Version, Dir: w.cfg.RootDir, Logger: w.cfg.Logger, Health: w.health, Kept: w.keptByThresholds,
		RuntimeVersion: w.versions.String, Handlers: w.handlers, Images: w.nodeImages,
		Port: func() int32 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return int32(w.nodeAddr.Port())
		},
	}
}

// runPods waits for the runtime, takes over what runs, and then follows the API and the runtime.
func (w *Worker) runPods(ctx context.Context, m *manager, agent *node.Node, keeper *housekeeper) error {
	if err := w.greet(ctx, m); err != nil {
		return nil // ctx has ended: greet gives up for nothing else
	}
	w.runtimeUp.Store(true)
	agent.Poke()
	pods := feed.New(w.cfg.Client, w.cfg.Client.CoreV1().Pods(""), &corev1.Pod{}, "spec.nodeName="+w.cfg.NodeName, feed.Handler[*corev1.Pod]{
		Set:    m.accept,
		Gone:   func(k feed.Key) { m.dismiss(k.UID) },
		Synced: m.dismissUnseen,
	})
	var parts sync.WaitGroup
	parts.Go(func() { pods.Run(ctx) })
	parts.Go(func() { m.watchRuntimes(ctx, pods.Synced, agent.Poke) })
	parts.Go(func() { w.meetContainers(ctx, agent.Poke) })
	parts.Go(func() { m.static.follow(ctx) })
	parts.Go(func() { m.static.reflect(ctx, pods.Synced, agent.UID) })
	var kept error
	parts.Go(func() { kept = keeper.run(ctx) })
	parts.Wait()
	return kept
}

// kubernetesEnv is where programs find the API.
func kubernetesEnv(services *service.Server) []env.Var {
	svc, ok := services.Lookup(corev1.NamespaceDefault, "kubernetes")
	if !ok || len(svc.ClusterIPs) == 0 || len(svc.Ports) == 0 {
		return nil
	}
	return []env.Var{
		{Name: "KUBERNETES_SERVICE_HOST", Value: svc.ClusterIPs[0].String()},
		{Name: "KUBERNETES_SERVICE_PORT", Value: strconv.Itoa(int(svc.Ports[0].Port))},
	}
}
