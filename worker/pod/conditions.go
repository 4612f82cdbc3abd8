package pod

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// readyToStart is in Kubernetes' API since 1.28.
const readyToStart = corev1.PodReadyToStartContainers

// conditions are the worker's five with everybody else's kept as they are.
func conditions(v *View, status *corev1.PodStatus, now time.Time) []corev1.PodCondition {
	own := []corev1.PodCondition{
		sandboxCondition(v),
		initializedCondition(v, status),
		readyCondition(v, status),
		containersReadyCondition(v, status),
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	own = append(own, resizeConditions(v)...)
	for i := range own {
		c := &own[i]
		c.ObservedGeneration = v.Pod.Generation
		old := find(v.last().Conditions, c.Type)
		switch {
		case old != nil && old.Status == c.Status:
			c.LastTransitionTime, c.LastProbeTime = old.LastTransitionTime, old.LastProbeTime
		default:
			c.LastTransitionTime = metav1.NewTime(now).Rfc3339Copy()
		}
		if theirs := find(v.Pod.Status.Conditions, c.Type); theirs != nil && c.Type == corev1.PodScheduled && theirs.Status == c.Status {
			*c = *theirs // it is the scheduler's
		}
	}
	for _, c := range []*corev1.PodCondition{health(v, now), disruption(v, now)} {
		if c != nil {
			own = append(own, *c)
		}
	}
	for _, c := range v.Pod.Status.Conditions {
		if find(own, c.Type) == nil && !aboutResize(c.Type) {
			own = append(own, c)
		}
	}
	return own
}

func find(all []corev1.PodCondition, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range all {
		if all[i].Type == kind {
			return &all[i]
		}
	}
	return nil
}

func sandboxCondition(v *View) corev1.PodCondition {
	c := corev1.PodCondition{Type: readyToStart, Status: corev1.ConditionFalse}
	if s := v.Sandbox(); s != nil && s.IP != "" {
		c.Status = corev1.ConditionTrue
	}
	return c
}

func initializedCondition(v *View, status *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if status.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	done, _ := v.initialized()
	if done {
		return c
	}
	var names []string
	for i := range status.InitContainerStatuses {
		s := &status.InitContainerStatuses[i]
		if roleOfInit(&v.Pod.Spec.InitContainers[i]) == Sidecar && *s.Started {
			continue // the next one does not wait for its readiness
		}
		if !s.Ready {
			names = append(names, s.Name)
		}
	}
	c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
	c.Message = fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(names, " "))
	return c
}

func containersReadyCondition(v *View, status *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch status.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var names []string
	for i := range status.InitContainerStatuses {
		if s := &status.InitContainerStatuses[i]; !s.Ready && roleOfInit(&v.Pod.Spec.InitContainers[i]) == Sidecar {
			names = append(names, s.Name)
		}
	}
	for i := range status.ContainerStatuses {
		if s := &status.ContainerStatuses[i]; !s.Ready {
			names = append(names, s.Name)
		}
	}
	if len(names) > 0 {
		c.Reason = "ContainersNotReady"
		c.Message = fmt.Sprintf("containers with unready status: [%s]", strings.Join(names, " "))
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// readyCondition is the containers' readiness and every readiness gate.
func readyCondition(v *View, status *corev1.PodStatus) corev1.PodCondition {
	c := containersReadyCondition(v, status)
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	for _, gate := range v.Pod.Spec.ReadinessGates {
		set := find(v.Pod.Status.Conditions, gate.ConditionType)
		if set == nil || set.Status != corev1.ConditionTrue {
			c.Status, c.Reason = corev1.ConditionFalse, "ReadinessGatesNotReady"
			c.Message = fmt.Sprintf("readiness gate %q is not true", gate.ConditionType)
			return c
		}
	}
	return c
}
