package service

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/service/health"
)

// toBeDeleted is the taint by which the cluster autoscaler marks a node that it is about to delete.
const toBeDeleted = "ToBeDeletedByClusterAutoscaler"

// isEligible reports whether a node is to get traffic.
func isEligible(n *corev1.Node) bool {
	if n.DeletionTimestamp != nil {
		return false
	}
	for i := range n.Spec.Taints {
		if n.Spec.Taints[i].Key == toBeDeleted {
			return false
		}
	}
	return true
}

// progress tells when what serves last had the whole table, and since when it has not.
func (s *Server) progress() (updated, waiting time.Time) {
	if behind, ok := s.cfg.Kernel.(interface{ Progress() (time.Time, time.Time) }); ok && s.Serving().Mode == EBPF {
		return behind.Progress()
	}
	return s.state.lastChange(), time.Time{} // user space serves a change as it comes
}

func (s *Server) newHealth() (*health.Health, error) {
	return health.New(health.Config{Progress: s.progress, Eligible: s.eligible.Load, Logger: s.cfg.Logger})
}

// checkSink serves the health check node ports of the table's Services.
type checkSink struct{ *health.Checks }

func (c checkSink) apply(svc Service)             { c.Set(svc.Key(), svc.HealthCheckNodePort, svc.LocalReady) }
func (c checkSink) drop(key types.NamespacedName) { c.Checks.Drop(key) }

func (s *Server) newChecks(ctx context.Context) checkSink {
	return checkSink{health.NewChecks(ctx, s.cfg.HealthAddrs, s.health.Healthy, s.checkFailed, s.cfg.Logger)}
}

func (s *Server) checkFailed(name types.NamespacedName, err error) {
	if s.cfg.Recorder == nil {
		return
	}
	ref := &corev1.ObjectReference{Kind: "Service", APIVersion: "v1", Namespace: name.Namespace, Name: name.Name}
	s.cfg.Recorder.Eventf(ref, corev1.EventTypeWarning, "FailedToStartServiceHealthcheck", "Node %s: %v", s.cfg.NodeName, err)
}
