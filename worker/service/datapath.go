package service

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// DataPath serves the table in place of the proxy in user space. Only Open and Run wait for anything.
type DataPath interface {
	// Open makes it ready, or says by name what the host does not have.
	Open(ctx context.Context) error
	// Run puts what it is told into effect until ctx ends.
	Run(ctx context.Context) error
	// Apply and Drop tell of the table's changes, Settled that the table is whole: at the start, what the data path still
	// holds from before is to be kept until then.
	Apply(Service)
	Drop(types.NamespacedName)
	Settled()
	// Leave and Arrive tell of pods of this node that are about to be stopped, and of new ones at their addresses.
	Leave(netip.Addr)
	Arrive(netip.Addr)
}

// Mode says which data path serves.
type Mode string

// Modes of Config.
const (
	Auto      Mode = "auto"      // the kernel's where it can be had, else user space
	EBPF      Mode = "ebpf"      // the kernel's or none
	Userspace Mode = "userspace" // user space
)

// ParseMode reads a flag's value.
func ParseMode(text string) (Mode, error) {
	switch m := Mode(text); m {
	case Auto, EBPF, Userspace:
		return m, nil
	}
	return "", fmt.Errorf("data path %q: want %s, %s or %s", text, Auto, EBPF, Userspace)
}

// pathSink tells a data path of the table's changes.
type pathSink struct{ path DataPath }

func (s pathSink) apply(svc Service)           { s.path.Apply(svc) }
func (s pathSink) drop(k types.NamespacedName) { s.path.Drop(k) }
func (s pathSink) settled()                    { s.path.Settled() }

// choosePath opens the kernel's data path. It is nil where user space is to serve, which is said if nobody asked for it.
func (s *Server) choosePath(ctx context.Context) (DataPath, error) {
	if s.cfg.Kernel == nil || s.cfg.Mode == Userspace {
		s.serving.Store(&Serving{Mode: Userspace})
		return nil, nil
	}
	err := s.cfg.Kernel.Open(ctx)
	if err == nil {
		s.serving.Store(&Serving{Mode: EBPF})
		s.cfg.Logger.Info("services are served by eBPF programs in the kernel")
		return s.cfg.Kernel, nil
	}
	if s.cfg.Mode == EBPF || ctx.Err() != nil {
		return nil, fmt.Errorf("open eBPF data path: %w", err)
	}
	s.serving.Store(&Serving{Mode: Userspace, Missing: err.Error()})
	s.cfg.Logger.Warn("services are served from user space: the kernel's data path is not to be had", "missing", err)
	if s.cfg.Recorder != nil {
		node := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: s.cfg.NodeName, UID: types.UID(s.cfg.NodeName)}
		s.cfg.Recorder.Eventf(node, corev1.EventTypeWarning, "ServiceProxyInUserSpace", "Services are served from user space, for eBPF is not to be had: %v", err)
	}
	return nil, nil
}

// Serving says which data path serves, and why not the better one.
type Serving struct {
	Mode    Mode
	Missing string // what the host does not have; empty where user space was asked for
}

// Serving answers the zero value before Run has chosen.
func (s *Server) Serving() Serving {
	if chosen := s.serving.Load(); chosen != nil {
		return *chosen
	}
	return Serving{}
}
