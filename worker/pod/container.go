package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Role is what a container is to its pod.
type Role int

// The roles.
const (
	// Main containers are what the pod is for: it ends with them.
	Main Role = iota
	// Init containers run to their end, one after the other, before the main ones.
	Init
	// Sidecar is an init container that goes on: the next one waits for its start, and it ends after the main ones.
	Sidecar
	// Ephemeral containers are added to a running pod by who looks into it. They are never started again.
	Ephemeral
)

// roleOfInit is the role of an init container.
func roleOfInit(c *corev1.Container) Role {
	if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
		return Sidecar
	}
	return Init
}

// Containers goes through every container of the pod in the order of their starts: ephemeral ones, which wait for
// nothing, are last.
func Containers(p *corev1.Pod) func(yield func(*corev1.Container, Role) bool) {
	return func(yield func(*corev1.Container, Role) bool) {
		for i := range p.Spec.InitContainers {
			if c := &p.Spec.InitContainers[i]; !yield(c, roleOfInit(c)) {
				return
			}
		}
		for i := range p.Spec.Containers {
			if !yield(&p.Spec.Containers[i], Main) {
				return
			}
		}
		for i := range p.Spec.EphemeralContainers {
			if !yield((*corev1.Container)(&p.Spec.EphemeralContainers[i].EphemeralContainerCommon), Ephemeral) {
				return
			}
		}
	}
}

// Find is the pod's container of that name; nil when it has none.
func Find(p *corev1.Pod, name string) (*corev1.Container, Role) {
	for c, role := range Containers(p) {
		if c.Name == name {
			return c, role
		}
	}
	return nil, Main
}

// restarts reports whether a container that ended with the code is to be started again.
func restarts(p *corev1.Pod, c *corev1.Container, role Role, code int32) bool {
	switch role {
	case Sidecar:
		return true
	case Ephemeral:
		return false
	}
	if ruled(c.RestartPolicyRules, code) {
		return true
	}
	policy := p.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch {
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure || role == Init: // an init container that succeeded is done
		return code != 0
	default:
		return true
	}
}

// ruled reports whether a rule of the container's own asks for its restart after that exit code.
func ruled(rules []corev1.ContainerRestartRule, code int32) bool {
	for i := range rules {
		codes := rules[i].ExitCodes
		if codes == nil || rules[i].Action != corev1.ContainerRestartRuleActionRestart {
			continue
		}
		named := slices.Contains(codes.Values, code)
		if named == (codes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	return false
}
