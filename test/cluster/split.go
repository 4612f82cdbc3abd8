package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
)

// Split is a cluster whose control plane and worker are processes of their own.
type Split struct {
	ground
	API     string // http://127.0.0.1:NNNN
	Gateway string // 127.0.0.1:NNNN

	ControlPlane *Process
	Worker       *Process
}

// StartSplit starts a control plane and a worker and waits until the API is ready.
func StartSplit(ctx context.Context, o Options) (*Split, error) {
	g, err := newGround(o)
	if err != nil {
		return nil, err
	}
	s := &Split{ground: g}
	// Apps' URLs are the control plane's to tell and the worker's to serve: both must know the port beforehand.
	if s.Gateway, err = freeAddress(); err == nil {
		err = s.UpControlPlane(ctx)
	}
	if err == nil {
		err = s.UpWorker(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// Cluster is the same cluster as its clients see it. It must be stopped as a Split.
func (s *Split) Cluster() *Cluster {
	return &Cluster{ground: s.ground, State: State{API: s.API, Gateway: s.Gateway}}
}

func (s *Split) dataDir(part string) string { return filepath.Join(s.Dir, part) }

// LogPath is where a part, "controlplane" or "worker", writes.
func (s *Split) LogPath(part string) string { return filepath.Join(s.Dir, part+".log") }

// UpControlPlane starts the control plane, on the port it had before, and waits until it is ready.
func (s *Split) UpControlPlane(ctx context.Context) error {
	listen := "127.0.0.1:0"
	if s.API != "" {
		listen = s.API[len("http://"):]
	}
	p, state, err := s.up(ctx, "controlplane", "--listen", listen, "--gateway-listen", s.Gateway, "--service-cidr", s.Addresses.Services)
	s.ControlPlane = p
	if err != nil {
		return err
	}
	s.API = state.API
	return apiReady(ctx, s.API, p)
}

// UpWorker starts the worker. A clean end of it ends its pods too.
func (s *Split) UpWorker(ctx context.Context) (err error) {
	s.Worker, _, err = s.up(ctx, "worker", append(undisturbed(), "--server", s.API, "--gateway-listen", s.Gateway, "--pod-cidr", s.Addresses.Pods,
		"--stop-pods", userspaceProxy)...)
	return err
}

func (s *Split) up(ctx context.Context, part string, args ...string) (*Process, State, error) {
	return s.launch(ctx, part, s.LogPath(part), s.dataDir(part), args...)
}

// freeAddress answers an address on loopback that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Stop ends both parts, the worker first, and whatever they left.
func (s *Split) Stop(ctx context.Context) error { return s.stop(ctx, s.Worker, s.ControlPlane) }
