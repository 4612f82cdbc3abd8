package pod

import corev1 "k8s.io/api/core/v1"

// Resize is where the resize of a pod in place is.
type Resize struct {
	// Pending says why what the spec asks for is not granted; empty: it is.
	Pending Why
	// InProgress says that what was granted is not in force yet; Failed why.
	InProgress bool
	Failed     string
}

// resizeConditions are the two that come and go with it.
func resizeConditions(v *View) (out []corev1.PodCondition) {
	if why := v.Resize.Pending; why.Reason != "" {
		out = append(out, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: why.Reason, Message: why.Message})
	}
	if v.Resize.InProgress {
		c := corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue}
		if v.Resize.Failed != "" {
			c.Reason, c.Message = corev1.PodReasonError, v.Resize.Failed
		}
		out = append(out, c)
	}
	return out
}

// aboutResize tells whether a condition is one of those.
func aboutResize(kind corev1.PodConditionType) bool {
	return kind == corev1.PodResizePending || kind == corev1.PodResizeInProgress
}

// tellResources says what a running container has been granted, and what is in force.
func tellResources(v *View, c *corev1.Container, out *corev1.ContainerStatus) {
	inForce := c.Resources
	if r, ok := v.InForce[c.Name]; ok {
		inForce = r
	}
	out.Resources, out.AllocatedResources = &inForce, c.Resources.Requests
}
