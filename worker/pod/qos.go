package pod

import corev1 "k8s.io/api/core/v1"

// QOS is the class that the pod's requests and limits put it in: guaranteed when each container has a limit of CPU and
// of memory and asks for all of it, best effort when none asks for anything.
func QOS(p *corev1.Pod) corev1.PodQOSClass {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass
	}
	if r := p.Spec.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		return class(guaranteed(r), false)
	}
	all, none := true, true
	for c, role := range Containers(p) {
		if role == Ephemeral {
			continue
		}
		all = all && guaranteed(&c.Resources)
		none = none && asksNothing(&c.Resources)
	}
	return class(all, none)
}

func class(guaranteed, nothing bool) corev1.PodQOSClass {
	switch {
	case guaranteed:
		return corev1.PodQOSGuaranteed
	case nothing:
		return corev1.PodQOSBestEffort
	default:
		return corev1.PodQOSBurstable
	}
}

func guaranteed(r *corev1.ResourceRequirements) bool {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		limit, request := r.Limits[name], r.Requests[name]
		if _, asked := r.Requests[name]; !asked { // the API's default is the limit
			request = limit
		}
		if limit.Sign() <= 0 || limit.Cmp(request) != 0 {
			return false
		}
	}
	return true
}

func asksNothing(r *corev1.ResourceRequirements) bool {
	for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if q, ok := list[name]; ok && q.Sign() > 0 {
				return false
			}
		}
	}
	return true
}
