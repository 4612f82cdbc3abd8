package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/image"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// Supervisor is the runtime's server.
type Supervisor struct {
	runtimev1.UnimplementedRuntimeServiceServer
	runtimev1.UnimplementedImageServiceServer

	cfg      Config
	store    *state.Store
	images   *image.Store
	puller   *image.Puller
	fleet    *fleet.Fleet
	events   *broadcaster
	steering *steerage
	steadies steadies
	sources  sources
	fresh    *freshCompiles

	mu         sync.RWMutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
	creating   map[string]bool   // ids of containers that a runner is making
	names      map[string]string // → id
	addresses  *addresses
	pods       podIndex
	users      map[string]int // namespace → sandboxes that are ready or about to be

	confined  confinement   // set by Run before it serves
	streams   *streamServer // likewise
	tidy      *tidy
	compiled  compileTimes
	compiling singleflight.Group // by digest
}

// New returns a supervisor. It does no I/O.
func New(cfg Config) (*Supervisor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Supervisor{
		cfg: cfg, store: state.New(cfg.Root), images: image.NewStore(cfg.Root), events: newBroadcaster(), steering: newSteerage(cfg.SteerSocket, cfg.Logger), fresh: newFreshCompiles(),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{}, creating: map[string]bool{}, names: map[string]string{},
		addresses: newAddresses(cfg.PodCIDR), pods: newPodIndex(), users: map[string]int{}, tidy: newTidy(),
	}
	var err error
	s.puller, err = image.NewPuller(image.Config{Store: s.images, Compiler: s.fresh.noting(cfg.Compiler, &s.compiled), Mirrors: cfg.Mirrors, MirrorTLS: cfg.MirrorTLS, HostsDir: cfg.RegistryDir,
		UserAgent: RuntimeName + "/" + cfg.Version, Now: cfg.Now, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	s.fleet, err = fleet.New(fleet.Config{
		Store: s.store, Command: cfg.RunnerCommand, Timing: cfg.Timing, Logger: cfg.Logger, Now: cfg.Now,
		User: s.userOf, Groups: s.groups, OnStatus: s.onStatus, OnDeath: s.onDeath, OnReconnect: s.onReconnect, Needed: s.needed,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Run takes over what an earlier supervisor left and serves until ctx ends.
func (s *Supervisor) Run(ctx context.Context) error {
	release, err := s.store.Lock()
	if err != nil {
		return err
	}
	defer release()
	defer s.tidy.stop()
	defer s.puller.Close()
	defer s.fleet.Close()
	defer s.sources.close()
	s.confine()
	defer s.releaseGroups()
	ending, err := s.restore(ctx)
	if err != nil {
		return err
	}
	s.sweepGroups(ending)
	s.sweepBinds()
	defer s.startSteering(ctx)()
	if err := os.MkdirAll(filepath.Dir(s.cfg.Socket), 0o700); err != nil {
		return fmt.Errorf("create socket's directory: %w", err)
	}
	listener, err := fleet.Listen(s.cfg.Socket)
	if err != nil {
		return err
	}
	if s.streams, err = s.startStreams(ctx); err != nil {
		_ = listener.Close()
		return err
	}
	err = errors.Join(s.serve(ctx, listener), os.Remove(s.cfg.Socket))
	s.streams.stop()
	if s.cfg.StopRunnersOnExit {
		s.stopEverything()
	}
	return err
}

// serve answers calls until ctx ends. The calls under way get a while to finish.
func (s *Supervisor) serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxReceive), grpc.MaxSendMsgSize(maxSend))
	runtimev1.RegisterRuntimeServiceServer(server, s)
	runtimev1.RegisterImageServiceServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.cfg.Logger.Info("serving the CRI", "socket", s.cfg.Socket, "root", s.cfg.Root, "version", s.cfg.Version)
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", s.cfg.Socket, err)
	case <-ctx.Done():
	}
	s.events.close() // streams never end by themselves
	hard := time.AfterFunc(serverGrace, server.Stop)
	server.GracefulStop()
	hard.Stop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", s.cfg.Socket, err)
	}
	return nil
}

// stopEverything ends all pods, and then the runners.
func (s *Supervisor) stopEverything() {
	ctx, cancel := context.WithTimeout(context.Background(), exitGrace+stopSlack)
	defer cancel()
	var wg sync.WaitGroup
	for _, b := range s.allSandboxes() {
		wg.Go(func() {
			if err := s.stopSandbox(ctx, b, exitGrace); err != nil {
				s.cfg.Logger.Warn("sandbox not stopped", "sandbox", b.record.ID, "error", err)
			}
		})
	}
	wg.Wait()
	s.fleet.Shutdown(ctx, 0)
}

// needed says whether the namespace has sandboxes that are ready or about to be.
func (s *Supervisor) needed(namespace string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.users[namespace] > 0
}

// use counts a sandbox of the namespace; leave takes it back and lets the runner go with the last.
func (s *Supervisor) use(namespace string) {
	s.mu.Lock()
	s.users[namespace]++
	s.mu.Unlock()
}

func (s *Supervisor) leave(namespace string) {
	s.mu.Lock()
	s.users[namespace]--
	last := s.users[namespace] == 0
	if last {
		delete(s.users, namespace)
	}
	s.mu.Unlock()
	if last {
		s.fleet.Release(namespace)
	}
}
