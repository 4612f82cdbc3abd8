package podrules

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func TestWasm(t *testing.T) {
	for want, spec := range map[string]corev1.PodSpec{
		"": {
			HostNetwork: true, ShareProcessNamespace: ptr.To(false),
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](7), FSGroup: ptr.To[int64](8)},
			InitContainers:  []corev1.Container{{Name: "i", Stdin: true}},
			Containers: []corev1.Container{{
				SecurityContext: &corev1.SecurityContext{
					Privileged: ptr.To(false), AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					ProcMount: ptr.To(corev1.DefaultProcMount),
				},
				Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}},
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")}},
			}},
		},
		"spec.hostPID": {HostPID: true}, "spec.hostIPC": {HostIPC: true},
		"spec.shareProcessNamespace":                         {ShareProcessNamespace: ptr.To(true)},
		"spec.hostAliases":                                   {HostAliases: []corev1.HostAlias{{IP: "1.2.3.4"}}},
		"spec.securityContext.sysctls":                       {SecurityContext: &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "a"}}}},
		"spec.containers[0].securityContext.privileged":      of(corev1.Container{SecurityContext: &corev1.SecurityContext{Privileged: ptr.To(true)}}),
		"spec.containers[0].securityContext.procMount":       of(corev1.Container{SecurityContext: &corev1.SecurityContext{ProcMount: ptr.To(corev1.UnmaskedProcMount)}}),
		"spec.containers[0].tty":                             of(corev1.Container{TTY: true}),
		"spec.containers[0].lifecycle.stopSignal":            of(corev1.Container{Lifecycle: &corev1.Lifecycle{StopSignal: ptr.To(corev1.SIGKILL)}}),
		"spec.containers[0].volumeDevices":                   of(corev1.Container{VolumeDevices: []corev1.VolumeDevice{{Name: "d"}}}),
		"spec.containers[0].resources.claims":                of(corev1.Container{Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "c"}}}}),
		"spec.containers[0].resources.limits[hugepages-2Mi]": of(corev1.Container{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"hugepages-2Mi": resource.MustParse("2Mi")}}}),
		"spec.initContainers[0].securityContext.capabilities.add": {InitContainers: []corev1.Container{{SecurityContext: &corev1.SecurityContext{
			Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}},
		}}}},
	} {
		var got []string
		for _, err := range Wasm(&spec, field.NewPath("spec")) {
			got = append(got, err.Field)
			if err.Type != field.ErrorTypeForbidden || !strings.HasPrefix(err.Detail, "a Wasm guest") {
				t.Errorf("%s: %v", want, err)
			}
		}
		if want == "" && len(got) > 0 || want != "" && !slices.Equal(got, []string{want}) {
			t.Errorf("refused %v, want %q", got, want)
		}
	}
}

func of(c corev1.Container) corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{c}}
}
