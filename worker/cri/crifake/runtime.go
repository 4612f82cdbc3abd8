package crifake

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Runtime is the fake. Its zero value is not usable: call New.
type Runtime struct {
	mu         sync.Mutex
	programs   map[string]Program // by image reference: what a registry would hold
	pulled     map[string]bool
	sandboxes  map[string]*sandbox
	containers map[string]*container
	watchers   map[*watcher]bool
	faults     map[string]error
	calls      map[string]int
	delay      map[string]time.Duration
	failures   map[string]string // of guests, by container
	podCIDR    string
	noEvents   bool
	noStreams  bool
	usage      map[string]usage                 // by pod UID and container
	sizes      map[string]uint64                // of images
	private    map[string]*runtimev1.AuthConfig // what pulls of an image have to show
	pulling    map[string]string                // what is told of pulls under way
	imageDir   string

	server  *grpc.Server
	served  sync.WaitGroup
	streams streams
}

// New makes a runtime that holds no image and runs nothing.
func New() *Runtime {
	return &Runtime{
		programs:   map[string]Program{},
		pulled:     map[string]bool{},
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
		watchers:   map[*watcher]bool{},
		faults:     map[string]error{},
		calls:      map[string]int{},
		delay:      map[string]time.Duration{},
		failures:   map[string]string{},
		usage:      map[string]usage{},
		sizes:      map[string]uint64{},
		private:    map[string]*runtimev1.AuthConfig{},
		pulling:    map[string]string{},
	}
}

// Serve listens on the unix socket until Hang or Close. It may be called again after Hang.
func (r *Runtime) Serve(socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen on runtime socket: %w", err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(r.intercept), grpc.MaxRecvMsgSize(maxMessage))
	runtimev1.RegisterRuntimeServiceServer(server, &service{Runtime: r})
	runtimev1.RegisterImageServiceServer(server, &imageService{Runtime: r})
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	r.served.Go(func() { _ = server.Serve(listener) })
	return nil
}

// maxMessage is the adapter's own limit.
const maxMessage = 64 << 20

// Hang takes the socket away and leaves the containers running.
func (r *Runtime) Hang() {
	r.mu.Lock()
	server := r.server
	r.server = nil
	r.mu.Unlock()
	if server != nil {
		server.Stop()
	}
	r.served.Wait()
}

// Close takes the socket away and ends every container.
func (r *Runtime) Close() {
	r.Hang()
	r.streams.close()
	r.mu.Lock()
	var all []*container
	for _, c := range r.containers {
		all = append(all, c)
	}
	r.mu.Unlock()
	for _, c := range all {
		c.stop(0)
	}
}

// PodCIDR is what UpdateRuntimeConfig last set.
func (r *Runtime) PodCIDR() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.podCIDR
}

func newID() string { return rand.Text() + rand.Text() }

type service struct {
	runtimev1.UnimplementedRuntimeServiceServer
	*Runtime
}

type imageService struct {
	runtimev1.UnimplementedImageServiceServer
	*Runtime
}
