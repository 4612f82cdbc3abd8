package confine

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Options are what containers' security contexts are worked out with, beyond the spec.
type Options struct {
	// ProfileDir is where localhost seccomp profiles lie.
	ProfileDir string
	// Image is whom the image names as its user.
	Image ImageUser
	// Target is the runtime's ID of the container whose processes are shared, for an ephemeral one that names it.
	Target string
}

// settings are a container's security settings, with the pod's where it has none of its own.
type settings struct {
	pod       corev1.PodSecurityContext
	container corev1.SecurityContext
}

func settingsOf(p *corev1.Pod, c *corev1.Container) settings {
	var s settings
	if p.Spec.SecurityContext != nil {
		s.pod = *p.Spec.SecurityContext
	}
	if c != nil && c.SecurityContext != nil {
		s.container = *c.SecurityContext
	}
	own := &s.container
	own.RunAsUser = cmp.Or(own.RunAsUser, s.pod.RunAsUser)
	own.RunAsGroup = cmp.Or(own.RunAsGroup, s.pod.RunAsGroup)
	own.RunAsNonRoot = cmp.Or(own.RunAsNonRoot, s.pod.RunAsNonRoot)
	own.SELinuxOptions = cmp.Or(own.SELinuxOptions, s.pod.SELinuxOptions)
	own.SeccompProfile = cmp.Or(own.SeccompProfile, s.pod.SeccompProfile)
	own.AppArmorProfile = cmp.Or(own.AppArmorProfile, s.pod.AppArmorProfile)
	return s
}

// Security is the container's security context as the runtime is told of it.
func Security(p *corev1.Pod, c *corev1.Container, o Options) (*runtimev1.LinuxContainerSecurityContext, error) {
	s := settingsOf(p, c)
	own := &s.container
	out := &runtimev1.LinuxContainerSecurityContext{
		NamespaceOptions:         containerNamespaces(p, o.Target),
		Capabilities:             capabilities(own.Capabilities),
		Privileged:               isTrue(own.Privileged),
		ReadonlyRootfs:           isTrue(own.ReadOnlyRootFilesystem),
		NoNewPrivs:               own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		SelinuxOptions:           selinux(own.SELinuxOptions),
		SupplementalGroups:       supplementalGroups(&s.pod),
		SupplementalGroupsPolicy: groupsPolicy(&s.pod),
	}
	if own.ProcMount == nil || *own.ProcMount != corev1.UnmaskedProcMount {
		out.MaskedPaths, out.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	var err error
	if out.RunAsUser, out.RunAsUsername, err = user(own, o.Image); err != nil {
		return nil, err
	}
	out.RunAsGroup = number(own.RunAsGroup)
	if out.Seccomp, err = seccomp(own.SeccompProfile, o.ProfileDir); err != nil {
		return nil, err
	}
	out.Apparmor = apparmor(own.AppArmorProfile)
	return out, nil
}

// Sandbox is the pod's own security context, which its namespaces and its sandbox's process are made with.
func Sandbox(p *corev1.Pod) (*runtimev1.LinuxSandboxSecurityContext, error) {
	s := settingsOf(p, nil)
	out := &runtimev1.LinuxSandboxSecurityContext{
		NamespaceOptions:         namespaces(p),
		SelinuxOptions:           selinux(s.pod.SELinuxOptions),
		RunAsUser:                number(s.pod.RunAsUser),
		SupplementalGroups:       supplementalGroups(&s.pod),
		SupplementalGroupsPolicy: groupsPolicy(&s.pod),
		Privileged:               anyPrivileged(p),
		// The sandbox's process only waits: nothing that it needs is kept from it by the runtime's own profile.
		Seccomp: &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_RuntimeDefault},
	}
	if out.RunAsUser != nil { // a group without a user is refused by runtimes
		out.RunAsGroup = number(s.pod.RunAsGroup)
	}
	if isFalse(p.Spec.HostUsers) {
		return nil, errUserNamespace
	}
	return out, nil
}

func anyPrivileged(p *corev1.Pod) bool {
	for _, all := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range all {
			if s := all[i].SecurityContext; s != nil && isTrue(s.Privileged) {
				return true
			}
		}
	}
	return false
}

func capabilities(c *corev1.Capabilities) *runtimev1.Capability {
	if c == nil {
		return nil
	}
	out := &runtimev1.Capability{}
	for _, name := range c.Add {
		out.AddCapabilities = append(out.AddCapabilities, string(name))
	}
	for _, name := range c.Drop {
		out.DropCapabilities = append(out.DropCapabilities, string(name))
	}
	return out
}

func selinux(o *corev1.SELinuxOptions) *runtimev1.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimev1.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func number(n *int64) *runtimev1.Int64Value {
	if n == nil {
		return nil
	}
	return &runtimev1.Int64Value{Value: *n}
}

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }
