package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Health is what the worker knows of its own ability to run pods.
type Health struct {
	Ready   bool
	Reason  string
	Message string
}

// status is the Node's status as of now; times of conditions that did not change come from old.
func status(cfg *Config, m *machine, health Health, old *corev1.NodeStatus, now time.Time) corev1.NodeStatus {
	capacity, allocatable := m.capacity(cfg)
	info := m.info
	info.KubeletVersion = cfg.Version
	info.ContainerRuntimeVersion = cfg.RuntimeVersion()
	out := corev1.NodeStatus{
		Capacity:        capacity,
		Allocatable:     allocatable,
		NodeInfo:        info,
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: cfg.Port()}},
	}
	if cfg.Handlers != nil {
		out.RuntimeHandlers = cfg.Handlers()
	}
	for _, ip := range cfg.Addresses {
		out.Addresses = append(out.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	out.Addresses = append(out.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: cfg.Name})
	out.Conditions = []corev1.NodeCondition{
		condition(corev1.NodeMemoryPressure, cfg.Pressure(corev1.NodeMemoryPressure), "WorkerHasInsufficientMemory", "worker has insufficient memory available", "WorkerHasSufficientMemory", "worker has sufficient memory available"),
		condition(corev1.NodeDiskPressure, cfg.Pressure(corev1.NodeDiskPressure), "WorkerHasDiskPressure", "worker has disk pressure", "WorkerHasNoDiskPressure", "worker has no disk pressure"),
		condition(corev1.NodePIDPressure, cfg.Pressure(corev1.NodePIDPressure), "WorkerHasInsufficientPID", "worker has insufficient PID available", "WorkerHasSufficientPID", "worker has sufficient PID available"),
		{Type: corev1.NodeReady, Status: truth(health.Ready), Reason: health.Reason, Message: health.Message},
	}
	for i := range out.Conditions {
		c := &out.Conditions[i]
		c.LastHeartbeatTime = metav1.NewTime(now).Rfc3339Copy()
		c.LastTransitionTime = c.LastHeartbeatTime
		for _, was := range old.Conditions {
			if was.Type == c.Type && was.Status == c.Status {
				c.LastTransitionTime = was.LastTransitionTime
			}
		}
	}
	return out
}

func condition(kind corev1.NodeConditionType, holds bool, reason, message, elseReason, elseMessage string) corev1.NodeCondition {
	c := corev1.NodeCondition{Type: kind, Status: truth(holds), Reason: elseReason, Message: elseMessage}
	if holds {
		c.Reason, c.Message = reason, message
	}
	return c
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// statusPatch makes the strategic merge patch of a status. Addresses are replaced as a whole: merged by their type, as they
// would be, a node of two addresses would keep one, and an old one would never go.
func statusPatch(status *corev1.NodeStatus) ([]byte, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return nil, fmt.Errorf("encode node status: %w", err)
	}
	addresses, _ := fields["addresses"].([]any)
	fields["addresses"] = append(addresses, map[string]any{"$patch": "replace"})
	for _, list := range []string{"images", "volumesInUse"} { // an empty one is left out, and would stay as it was
		if _, has := fields[list]; !has {
			fields[list] = nil
		}
	}
	patch, err := json.Marshal(map[string]any{"status": fields})
	if err != nil {
		return nil, fmt.Errorf("encode node status: %w", err)
	}
	return patch, nil
}

// same reports whether two statuses tell the same, heartbeats aside. Available memory is not part of a status.
func same(a, b *corev1.NodeStatus) bool {
	if !equality.Semantic.DeepEqual(a.Images, b.Images) || !slices.Equal(a.VolumesInUse, b.VolumesInUse) {
		return false
	}
	if !equality.Semantic.DeepEqual(a.RuntimeHandlers, b.RuntimeHandlers) || a.DaemonEndpoints != b.DaemonEndpoints || !slices.Equal(a.Addresses, b.Addresses) || a.NodeInfo.ContainerRuntimeVersion != b.NodeInfo.ContainerRuntimeVersion {
		return false
	}
	for _, x := range a.Conditions {
		i := slices.IndexFunc(b.Conditions, func(c corev1.NodeCondition) bool { return c.Type == x.Type })
		if i < 0 {
			return false
		}
		y := b.Conditions[i] // others may have conditions of theirs there
		x.LastHeartbeatTime, y.LastHeartbeatTime = metav1.Time{}, metav1.Time{}
		if !equality.Semantic.DeepEqual(x, y) { // times that the API has decoded anew are equal, not identical
			return false
		}
	}
	return true
}
