package podrules

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Why something is refused: what a guest has in its place, or that it has nothing.
const (
	noProcesses    = "a Wasm guest is no process of the machine, and has no processes to share"
	noHostsFile    = "a Wasm guest has no hosts file: give it the addresses by variables, or use a Service"
	noSysctls      = "a Wasm guest has no kernel parameters"
	noPrivileges   = "a Wasm guest has no privileges: what it may reach is granted to it by annotations and volumes"
	noCapabilities = "a Wasm guest has no capabilities; they can only be dropped"
	noProc         = "a Wasm guest has no /proc"
	noTerminal     = "a Wasm guest has no terminal; stdin alone is possible"
	noSignals      = "a Wasm guest gets no signals: it is asked to finish, and ended when its grace period is over"
	noDevices      = "a Wasm guest has no devices"
	noHugePages    = "a Wasm guest has no huge pages"
)

// Wasm is what of the spec a pod of Wasm modules alone cannot have.
func Wasm(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := WasmPod(spec, path)
	for _, list := range []struct {
		name string
		all  []corev1.Container
	}{{"initContainers", spec.InitContainers}, {"containers", spec.Containers}} {
		for i := range list.all {
			errs = append(errs, WasmContainer(&list.all[i], path.Child(list.name).Index(i))...)
		}
	}
	return errs
}

// WasmPod is what of the spec such a pod cannot have as a whole.
func WasmPod(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.HostPID {
		errs = append(errs, field.Forbidden(path.Child("hostPID"), noProcesses))
	}
	if spec.HostIPC {
		errs = append(errs, field.Forbidden(path.Child("hostIPC"), noProcesses))
	}
	if spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace {
		errs = append(errs, field.Forbidden(path.Child("shareProcessNamespace"), noProcesses))
	}
	if len(spec.HostAliases) > 0 {
		errs = append(errs, field.Forbidden(path.Child("hostAliases"), noHostsFile))
	}
	if s := spec.SecurityContext; s != nil && len(s.Sysctls) > 0 {
		errs = append(errs, field.Forbidden(path.Child("securityContext", "sysctls"), noSysctls))
	}
	return errs
}

// WasmContainer is what of the container a Wasm module cannot have, in a pod of whatever kind.
func WasmContainer(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s := c.SecurityContext; s != nil {
		errs = securityContext(s, path.Child("securityContext"))
	}
	if c.TTY {
		errs = append(errs, field.Forbidden(path.Child("tty"), noTerminal))
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		errs = append(errs, field.Forbidden(path.Child("lifecycle", "stopSignal"), noSignals))
	}
	if len(c.VolumeDevices) > 0 {
		errs = append(errs, field.Forbidden(path.Child("volumeDevices"), noDevices))
	}
	if len(c.Resources.Claims) > 0 {
		errs = append(errs, field.Forbidden(path.Child("resources", "claims"), noDevices))
	}
	for _, name := range hugePages(c.Resources.Limits) {
		errs = append(errs, field.Forbidden(path.Child("resources", "limits").Key(name), noHugePages))
	}
	return errs
}

func securityContext(s *corev1.SecurityContext, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Privileged != nil && *s.Privileged {
		errs = append(errs, field.Forbidden(path.Child("privileged"), noPrivileges))
	}
	if s.Capabilities != nil && len(s.Capabilities.Add) > 0 {
		errs = append(errs, field.Forbidden(path.Child("capabilities", "add"), noCapabilities))
	}
	if s.ProcMount != nil && *s.ProcMount == corev1.UnmaskedProcMount {
		errs = append(errs, field.Forbidden(path.Child("procMount"), noProc))
	}
	return errs
}

func hugePages(limits corev1.ResourceList) []string {
	var names []string
	for name := range limits {
		if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}
