package runtimes

import (
	"context"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// Member is one runtime of a set. What its methods answer has the set's IDs; Client's answers have its own.
type Member struct {
	Name   string
	Client *cri.Client

	set *Set
}

// Owns reports whether an ID is of this runtime.
func (m *Member) Owns(id string) bool {
	name, _, err := split(id)
	return err == nil && name == m.Name
}

// ID is the set's ID for one of this runtime's own.
func (m *Member) ID(inner string) string { return join(m.Name, inner) }

// ListPodSandbox lists this runtime's sandboxes. Of the two of a pod of both kinds, containerd lists the one.
func (m *Member) ListPodSandbox(ctx context.Context, filter *runtimev1.PodSandboxFilter) ([]*runtimev1.PodSandbox, error) {
	all, err := m.Client.ListPodSandbox(ctx, filter)
	if err != nil {
		return nil, err
	}
	pairs := 0
	for _, s := range all {
		if s.GetLabels()[labelKind] == string(KindBoth) {
			pairs++
		}
	}
	if pairs == 0 {
		return m.rename(all), nil
	}
	if m == m.set.wasm {
		return m.rename(m.set.unpaired(ctx, all)), nil
	}
	others, err := m.set.beside(ctx, "")
	if err == nil { // else petrel-wasmrt is away: as far as containerd knows, nothing has changed
		unready(all, others)
	}
	return m.rename(all), nil
}

func (m *Member) rename(all []*runtimev1.PodSandbox) []*runtimev1.PodSandbox {
	for _, s := range all {
		s.Id = join(m.Name, s.GetId())
	}
	return all
}

// unpaired leaves out petrel-wasmrt's sandboxes beside one that containerd has. Those whose other half is gone are shown,
// as not ready: they are of no use to their pod, and have to go.
func (s *Set) unpaired(ctx context.Context, all []*runtimev1.PodSandbox) []*runtimev1.PodSandbox {
	have := map[string]bool{}
	known := false
	if s.oci != nil {
		theirs, err := s.oci.Client.ListPodSandbox(ctx, nil)
		known = err == nil // else containerd is away, and what it has is not gone for that
		for _, t := range theirs {
			have[t.GetId()] = true
		}
	}
	var out []*runtimev1.PodSandbox
	for _, b := range all {
		other, beside := b.GetLabels()[labelBeside]
		if beside && (!known || have[other]) {
			continue
		}
		if beside {
			b.State = runtimev1.PodSandboxState_SANDBOX_NOTREADY
		}
		out = append(out, b)
	}
	return out
}

// unready marks containerd's sandboxes whose other half is gone.
func unready(all, others []*runtimev1.PodSandbox) {
	whole := map[string]bool{}
	for _, o := range others {
		if o.GetState() == runtimev1.PodSandboxState_SANDBOX_READY {
			whole[o.GetLabels()[labelBeside]] = true
		}
	}
	for _, s := range all {
		if s.GetLabels()[labelKind] == string(KindBoth) && !whole[s.GetId()] {
			s.State = runtimev1.PodSandboxState_SANDBOX_NOTREADY
		}
	}
}

// ListContainers lists this runtime's containers.
func (m *Member) ListContainers(ctx context.Context, filter *runtimev1.ContainerFilter) ([]*runtimev1.Container, error) {
	all, err := m.Client.ListContainers(ctx, filter)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		c.Id = join(m.Name, c.GetId())
		c.PodSandboxId = sandboxOf(m.Name, c.GetPodSandboxId(), c.GetLabels())
	}
	return all, nil
}

// sandboxOf is the set's ID of a sandbox that has those labels, or is of a container that has them.
func sandboxOf(runtime, id string, labels map[string]string) string {
	if other := labels[labelBeside]; other != "" {
		return join(Containerd, other)
	}
	return join(runtime, id)
}

// Events hands each event of this runtime to handle until the stream ends.
func (m *Member) Events(ctx context.Context, opened func(), handle func(*runtimev1.ContainerEventResponse)) error {
	return m.Client.Events(ctx, opened, func(e *runtimev1.ContainerEventResponse) {
		labels := e.GetPodSandboxStatus().GetLabels()
		if inner := e.GetPodSandboxStatus().GetId(); inner != "" {
			e.PodSandboxStatus.Id = sandboxOf(m.Name, inner, labels)
			if e.GetContainerId() == inner { // of the sandbox itself
				e.ContainerId = e.PodSandboxStatus.Id
				handle(e)
				return
			}
		}
		e.ContainerId = join(m.Name, e.GetContainerId())
		for _, s := range e.GetContainersStatuses() {
			s.Id = join(m.Name, s.GetId())
		}
		handle(e)
	})
}

// ListPodSandbox lists the sandboxes of all runtimes.
func (s *Set) ListPodSandbox(ctx context.Context, filter *runtimev1.PodSandboxFilter) ([]*runtimev1.PodSandbox, error) {
	return list(s, func(m *Member) ([]*runtimev1.PodSandbox, error) { return m.ListPodSandbox(ctx, filter) })
}

// ListContainers lists the containers of all runtimes.
func (s *Set) ListContainers(ctx context.Context, filter *runtimev1.ContainerFilter) ([]*runtimev1.Container, error) {
	return list(s, func(m *Member) ([]*runtimev1.Container, error) { return m.ListContainers(ctx, filter) })
}

func list[T any](s *Set, of func(*Member) ([]T, error)) ([]T, error) {
	var out []T
	for _, m := range s.Members() {
		some, err := of(m)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}
