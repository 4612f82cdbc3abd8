package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/runtimes"
)

// kinds says what runs a pod. It is decided before the pod's sandbox is made, and stays.
type kinds struct {
	// Handler is containerd's for the pod's containers; empty for its default.
	Handler string `json:"handler,omitempty"`
	// Of are the kinds of the containers; nil: all are Wasm modules. One that is kindOpen has an image that could not be had
	// yet, and is decided when it is its turn to start.
	Of map[string]runtimes.Kind `json:"containers,omitempty"`
	// Both says that the sandbox was made for either kind, because a container was open then.
	Both bool `json:"both,omitempty"`
}

// kindOpen is the kind of a container whose image is not known.
const kindOpen runtimes.Kind = ""

// open reports whether it is not known what a container is.
func (k *kinds) open(name string) bool {
	kind, known := k.Of[name]
	return known && kind == kindOpen
}

// of is the kind of one container. One that came later, an ephemeral one, is what most can be looked into with.
func (k *kinds) of(name string) runtimes.Kind {
	if k == nil || len(k.Of) == 0 {
		return runtimes.KindWasm
	}
	if kind, known := k.Of[name]; known {
		return kind
	}
	return runtimes.KindOCI
}

// pod is the kind of the whole pod.
func (k *kinds) pod() runtimes.Kind {
	some := map[runtimes.Kind]bool{}
	for _, kind := range k.Of {
		some[kind] = true
	}
	switch {
	case k.Both, some[runtimes.KindOCI] && some[runtimes.KindWasm]:
		return runtimes.KindBoth
	case some[runtimes.KindOCI]:
		return runtimes.KindOCI
	default:
		return runtimes.KindWasm
	}
}

// anyOf reports whether the pod is, or may be, of one of the runtimes.
func (k *kinds) anyOf(names map[string]bool) bool {
	if len(names) == 0 {
		return false
	}
	if k == nil {
		return true
	}
	kind := k.pod()
	return names[runtimes.Containerd] && kind != runtimes.KindWasm || names[runtimes.Wasm] && kind != runtimes.KindOCI
}

// wasm reports whether a container is a Wasm module.
func (a *actor) wasm(name string) bool { return a.kinds.of(name) == runtimes.KindWasm }

// imageHandler names the runtime that holds a container's image, as the CRI wants to be told.
func (a *actor) imageHandler(name string) string {
	if a.wasm(name) {
		return runtimes.HandlerWasm
	}
	return a.kinds.Handler
}

// decideKinds finds out what runs the pod, once; false while that cannot be known, which the pod's status then says.
func (a *actor) decideKinds(ctx context.Context) (bool, error) {
	if a.kinds != nil {
		return true, nil
	}
	handler, err := a.m.runtimeHandler(ctx, a.view.Pod)
	if err == nil {
		err = a.m.checkHandler(handler)
	}
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		a.holdBack(a.nextRetry(), eventFailedSandbox, err)
		return false, nil
	}
	k := &kinds{}
	if handler != runtimes.HandlerWasm && len(a.m.members) > 1 {
		k.Handler = handler
		if k.Of, err = a.imageKinds(ctx, handler); err != nil {
			return false, err
		}
		if waits, at := a.openUntil(k); waits {
			a.view.RetryAt = at
			return false, nil
		}
		k.Both = slices.Contains(slices.Collect(maps.Values(k.Of)), kindOpen)
	}
	if k.pod() == runtimes.KindWasm {
		k = &kinds{} // nothing to write down: it is what a pod is by itself
	} else if err := a.writeKinds(k); err != nil {
		return false, err
	}
	a.kinds = k
	return true, nil
}

// openUntil reports whether nothing is known of any container of the pod, and when to ask again.
func (a *actor) openUntil(k *kinds) (waits bool, at time.Time) {
	for name, kind := range k.Of {
		if kind != kindOpen {
			return false, time.Time{}
		}
		if retry := a.view.Memory[name].RetryAt; at.IsZero() || retry.Before(at) {
			at = retry
		}
	}
	return len(k.Of) > 0, at
}

func (a *actor) writeKinds(k *kinds) error {
	return a.m.onDisk(func() error { return writeJSON(a.m.paths.kinds(a.uid), k) })
}

// imageKinds finds the kind of each container. Whoever names a handler of containerd's has said it for all. Of a container whose
// image cannot be had that is told, and it stays open: it holds back itself alone.
func (a *actor) imageKinds(ctx context.Context, handler string) (map[string]runtimes.Kind, error) {
	of := map[string]runtimes.Kind{}
	spec := &a.view.Pod.Spec
	for _, all := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range all {
			kind, err := runtimes.KindOCI, error(nil)
			if handler == "" {
				kind, err = a.tryImageKind(ctx, &all[i])
			}
			if err != nil {
				return nil, err
			}
			of[all[i].Name] = kind
		}
	}
	return of, nil
}

// tryImageKind is imageKind for a container that may have to wait for its image, which is kindOpen.
func (a *actor) tryImageKind(ctx context.Context, c *corev1.Container) (runtimes.Kind, error) {
	m := a.view.Memory[c.Name]
	if time.Now().Before(m.RetryAt) {
		return kindOpen, nil
	}
	kind, err := a.imageKind(ctx, c)
	switch {
	case err == nil:
		return kind, nil
	case ctx.Err() != nil || away(err):
		return kindOpen, err
	default:
		a.pullFailed(c, m, err)
		return kindOpen, nil
	}
}

// decideKind finds out what runs a container that is still open; false when it has to wait for its image.
func (a *actor) decideKind(ctx context.Context, c *corev1.Container) (bool, error) {
	if !a.kinds.open(c.Name) {
		return true, nil
	}
	kind, err := a.tryImageKind(ctx, c)
	if kind == kindOpen || err != nil {
		return false, err
	}
	k := *a.kinds
	k.Of = maps.Clone(k.Of)
	k.Of[c.Name] = kind
	if err := a.writeKinds(&k); err != nil {
		return false, err
	}
	a.kinds = &k
	return true, nil
}

// imageKind finds out what a container's image is: what is here already is what it was when it came, a registry is asked
// for the rest. petrel-wasmrt looks at the image's own description first and refuses what is no module before it fetches
// any of it.
func (a *actor) imageKind(ctx context.Context, c *corev1.Container) (runtimes.Kind, error) {
	if own := a.m.cfg.WasmRegistry; own != "" && strings.HasPrefix(c.Image, own+"/") {
		return runtimes.KindWasm, nil
	}
	if kind, err := a.localKind(ctx, c); kind != "" || err != nil {
		return kind, err
	}
	a.pulls(c)
	took, err := a.pull(ctx, c, runtimes.HandlerWasm, nil)
	if err == nil {
		a.pulledEarly(c, took)
		return runtimes.KindWasm, nil
	}
	if ctx.Err() != nil || away(err) {
		return "", err
	}
	more, other := a.pull(ctx, c, "", nil)
	switch {
	case other == nil:
		a.pulledEarly(c, took+more)
		return runtimes.KindOCI, nil
	case cri.IsNotWasm(err) || away(other):
		return "", other
	default:
		return "", err
	}
}

// pulledEarly tells of an image that came before its container was to start, so that nothing is told of it then.
func (a *actor) pulledEarly(c *corev1.Container, took time.Duration) {
	a.hasPulled(c, took)
	if a.early == nil {
		a.early = map[string]bool{}
	}
	a.early[c.Name] = true
}

// localKind is the kind of an image that a runtime holds; empty for one that a registry has to be asked for. A containerd
// that is being started again is waited for a little: it may hold the image, and registries take their time. One that
// stays away is no reason to wait: what it holds it alone could run, and it is asked again.
func (a *actor) localKind(ctx context.Context, c *corev1.Container) (runtimes.Kind, error) {
	if pullPolicy(c) == corev1.PullAlways {
		return "", nil
	}
	image, err := a.m.rt.ImageStatus(ctx, &runtimev1.ImageSpec{Image: c.Image, RuntimeHandler: runtimes.HandlerWasm})
	if err != nil {
		return "", err
	}
	if image != nil {
		return runtimes.KindWasm, nil
	}
	image, err = a.m.rt.ImageStatus(ctx, &runtimev1.ImageSpec{Image: c.Image})
	switch {
	case err == nil && image != nil:
		return runtimes.KindOCI, nil
	case err != nil && (!away(err) || a.mayComeBack(time.Now())):
		return "", err
	case pullPolicy(c) != corev1.PullNever:
		return "", nil
	case err != nil:
		return "", err
	default:
		return "", fmt.Errorf("image %q: %w", c.Image, errNeverPull)
	}
}

// mayComeBack reports whether containerd, which is away, has not been so for long since the pod needed it.
func (a *actor) mayComeBack(now time.Time) bool {
	if a.missed.IsZero() {
		a.missed = now
	}
	return now.Sub(a.missed) < a.m.cfg.containerdPatience
}

// recallKinds is what was decided for a pod that was written down, nil if nothing was.
func (m *manager) recallKinds(object *corev1.Pod, f found) *kinds {
	raw, err := os.ReadFile(m.paths.kinds(object.UID))
	if err == nil {
		k := &kinds{}
		if err = json.Unmarshal(raw, k); err == nil {
			return k
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		m.log.Error("what runs a pod was not read back", "pod", object.Namespace+"/"+object.Name, "error", err)
	}
	if len(m.members) == 1 {
		return &kinds{}
	}
	for _, s := range f.sandboxes {
		if m.members[0].Owns(s.GetId()) {
			return &kinds{}
		}
	}
	return nil
}
