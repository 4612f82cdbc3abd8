package confine

import (
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What of /proc and /sys is hidden from a container, or cannot be written to, unless it asks for an unmasked /proc: the
// paths that container runtimes hide by default, for they tell of or change the machine as a whole.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// seccomp is the profile as the runtime is told of it; without one system calls are not filtered, as in Kubernetes.
func seccomp(p *corev1.SeccompProfile, dir string) (*runtimev1.SecurityProfile, error) {
	if p == nil {
		return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Unconfined}, nil
	}
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_RuntimeDefault}, nil
	case corev1.SeccompProfileTypeUnconfined:
		return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Unconfined}, nil
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil || !filepath.IsLocal(*p.LocalhostProfile) {
			return nil, fmt.Errorf("seccomp profile: want the path of a file below %s", dir)
		}
		return &runtimev1.SecurityProfile{
			ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: filepath.Join(dir, *p.LocalhostProfile),
		}, nil
	default:
		return nil, fmt.Errorf("seccomp profile type %q is not known", p.Type)
	}
}

// apparmor is the profile as the runtime is told of it; nil is what the runtime does by default.
func apparmor(p *corev1.AppArmorProfile) *runtimev1.SecurityProfile {
	if p == nil {
		return nil
	}
	switch p.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Unconfined}
	case corev1.AppArmorProfileTypeLocalhost:
		name := ""
		if p.LocalhostProfile != nil {
			name = *p.LocalhostProfile
		}
		return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_Localhost, LocalhostRef: name}
	default:
		return &runtimev1.SecurityProfile{ProfileType: runtimev1.SecurityProfile_RuntimeDefault}
	}
}
