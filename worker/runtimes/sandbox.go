package runtimes

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// RunPodSandbox makes a pod's sandbox in the runtime of its kind, or one in each for a pod of both.
func (s *Set) RunPodSandbox(ctx context.Context, config *runtimev1.PodSandboxConfig, handler string) (string, error) {
	kind := s.kindOf(config, handler)
	if kind == KindWasm {
		return s.wasm.run(ctx, config, "") // it knows no other
	}
	if s.oci == nil {
		return "", fmt.Errorf("run pod sandbox: %w", errNoContainerd)
	}
	if kind == KindBoth {
		return s.runBoth(ctx, config, handler)
	}
	return s.oci.run(ctx, config, handler)
}

func (m *Member) run(ctx context.Context, config *runtimev1.PodSandboxConfig, handler string) (string, error) {
	id, err := m.Client.RunPodSandbox(ctx, config, handler)
	if err != nil {
		return "", err
	}
	return m.ID(id), nil
}

// runBoth makes containerd's sandbox first, because its namespace is what both live in.
func (s *Set) runBoth(ctx context.Context, config *runtimev1.PodSandboxConfig, handler string) (string, error) {
	first := proto.CloneOf(config)
	first.Labels = with(config.GetLabels(), labelKind, string(KindBoth))
	id, err := s.oci.Client.RunPodSandbox(ctx, first, handler)
	if err != nil {
		return "", err
	}
	if err := s.join(ctx, first, id); err != nil {
		// The pod's next attempt has a sandbox of its own; what is left of this one is found and removed like any other.
		end := context.WithoutCancel(ctx)
		return "", errors.Join(err, s.StopPodSandbox(end, join(Containerd, id)), s.RemovePodSandbox(end, join(Containerd, id)))
	}
	return join(Containerd, id), nil
}

// join makes petrel-wasmrt's sandbox in the namespace of containerd's.
func (s *Set) join(ctx context.Context, config *runtimev1.PodSandboxConfig, id string) error {
	netns, err := s.oci.Client.SandboxNetns(ctx, id)
	if err != nil {
		return err
	}
	beside := proto.CloneOf(config)
	beside.Labels = with(config.GetLabels(), labelBeside, id)
	if netns != "" { // else both are on the host's network
		beside.Annotations = with(config.GetAnnotations(), AnnotationNetns, netns)
	}
	_, err = s.wasm.Client.RunPodSandbox(ctx, beside, "")
	return err
}

func with(all map[string]string, key, value string) map[string]string {
	out := make(map[string]string, len(all)+1)
	maps.Copy(out, all)
	out[key] = value
	return out
}

// beside lists petrel-wasmrt's sandboxes of pods of both kinds: all, or the one beside containerd's of that ID.
func (s *Set) beside(ctx context.Context, id string) ([]*runtimev1.PodSandbox, error) {
	labels := map[string]string{labelKind: string(KindBoth)}
	if id != "" {
		labels[labelBeside] = id
	}
	return s.wasm.Client.ListPodSandbox(ctx, &runtimev1.PodSandboxFilter{LabelSelector: labels})
}

// StopPodSandbox stops what runs in the sandbox.
func (s *Set) StopPodSandbox(ctx context.Context, id string) error {
	return s.eachSandbox(ctx, id, (*cri.Client).StopPodSandbox)
}

// RemovePodSandbox removes the sandbox with its containers.
func (s *Set) RemovePodSandbox(ctx context.Context, id string) error {
	return s.eachSandbox(ctx, id, (*cri.Client).RemovePodSandbox)
}

// eachSandbox does something to a sandbox, and before that to the one beside it.
func (s *Set) eachSandbox(ctx context.Context, id string, do func(*cri.Client, context.Context, string) error) error {
	m, inner, err := s.named(id)
	if cri.IsNotFound(err) {
		return nil // nobody has it: it is stopped, and removed
	}
	if err != nil {
		return err
	}
	if m == s.oci {
		both, err := s.isBoth(ctx, inner)
		if err != nil {
			return err
		}
		if both {
			others, err := s.beside(ctx, inner)
			if err != nil {
				return err
			}
			for _, other := range others {
				if err := do(s.wasm.Client, ctx, other.GetId()); err != nil {
					return err
				}
			}
		}
	}
	return do(m.Client, ctx, inner)
}

// isBoth asks containerd whether its sandbox is of a pod of both kinds. One that it no longer has may have been.
func (s *Set) isBoth(ctx context.Context, inner string) (bool, error) {
	status, err := s.oci.Client.PodSandboxStatus(ctx, inner)
	if cri.IsNotFound(err) {
		return true, nil
	}
	return status.GetLabels()[labelKind] == string(KindBoth), err
}

// PodSandboxStatus tells of one sandbox.
func (s *Set) PodSandboxStatus(ctx context.Context, id string) (*runtimev1.PodSandboxStatus, error) {
	m, inner, err := s.named(id)
	if err != nil {
		return nil, err
	}
	status, err := m.Client.PodSandboxStatus(ctx, inner)
	if err != nil {
		return nil, err
	}
	status.Id = id
	if m == s.oci && status.GetLabels()[labelKind] == string(KindBoth) {
		others, err := s.beside(ctx, inner)
		if err != nil {
			return nil, err
		}
		if !ready(others) {
			status.State = runtimev1.PodSandboxState_SANDBOX_NOTREADY
		}
	}
	return status, nil
}

func ready(all []*runtimev1.PodSandbox) bool {
	for _, s := range all {
		if s.GetState() == runtimev1.PodSandboxState_SANDBOX_READY {
			return true
		}
	}
	return false
}

// PortForward prepares connections to a sandbox's ports.
func (s *Set) PortForward(ctx context.Context, r *runtimev1.PortForwardRequest) (cri.Stream, error) {
	m, inner, err := s.named(r.GetPodSandboxId())
	if err != nil {
		return cri.Stream{}, err
	}
	return m.Client.PortForward(ctx, &runtimev1.PortForwardRequest{PodSandboxId: inner, Port: r.GetPort()})
}
