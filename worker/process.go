package worker

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/podrules"
	"github.com/petrelrun/petrel/worker/confine"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// impossible says what of its spec a Wasm module cannot have.
func (a *actor) impossible(c *corev1.Container) error {
	spec := field.NewPath("spec")
	errs := podrules.WasmContainer(c, spec.Child("containers").Key(c.Name))
	if a.kinds.pod() == runtimes.KindWasm {
		errs = append(errs, podrules.WasmPod(&a.view.Pod.Spec, spec)...)
	}
	return errs.ToAggregate()
}

// addProcess completes the configuration of a container of processes by what a Wasm guest has no use for: who it runs
// as and what it may do, what it weighs, a hosts file, and where it leaves its last words. An error is the spec's.
func (a *actor) addProcess(ctx context.Context, config *runtimev1.ContainerConfig, c *corev1.Container) error {
	p := a.view.Pod
	target, err := a.processesOf(c.Name)
	if err != nil {
		return err
	}
	options := confine.Options{ProfileDir: a.m.paths.seccomp(), Target: target}
	if confine.NeedsImageUser(p, c) {
		image, err := a.m.rt.ImageStatus(ctx, config.GetImage())
		if err != nil {
			return err
		}
		options.Image = imageUser(image)
	}
	security, err := confine.Security(p, c, options)
	if err != nil {
		return err
	}
	memory := a.m.allocatable()[corev1.ResourceMemory]
	config.Linux = &runtimev1.LinuxContainerConfig{Resources: confine.Resources(p, c, memory.Value()), SecurityContext: security}
	if l := c.Lifecycle; l != nil && l.StopSignal != nil {
		config.StopSignal = runtimev1.Signal(runtimev1.Signal_value[string(*l.StopSignal)])
	}
	for _, add := range []func(*corev1.Container, *runtimev1.ContainerConfig) error{a.addHosts, a.addLastWords} {
		if err := add(c, config); err != nil {
			return err
		}
	}
	return nil
}

func imageUser(image *runtimev1.Image) confine.ImageUser {
	out := confine.ImageUser{Name: image.GetUsername()}
	if uid := image.GetUid(); uid != nil {
		out.UID = &uid.Value
	}
	return out
}

// processesOf is the runtime's ID of the container whose processes an ephemeral one is to see; empty for any other.
func (a *actor) processesOf(name string) (string, error) {
	for i := range a.view.Pod.Spec.EphemeralContainers {
		e := &a.view.Pod.Spec.EphemeralContainers[i]
		if e.Name != name || e.TargetContainerName == "" {
			continue
		}
		if a.wasm(e.TargetContainerName) {
			return "", fmt.Errorf("target container %s is a Wasm module: it has no processes that others could see", e.TargetContainerName)
		}
		if inst := a.view.Newest(e.TargetContainerName); inst != nil && inst.State == pod.Running {
			_, id, ok := strings.Cut(inst.ID, "://")
			if !ok {
				id = inst.ID
			}
			return id, nil
		}
	}
	return "", nil
}

// seccomp is where the profiles lie that pods may name.
func (p paths) seccomp() string { return filepath.Join(string(p), "seccomp") }

// mountedAt reports whether the configuration mounts something at the path already.
func mountedAt(config *runtimev1.ContainerConfig, path string) bool {
	for _, m := range config.GetMounts() {
		if m.GetContainerPath() == path {
			return true
		}
	}
	return false
}
