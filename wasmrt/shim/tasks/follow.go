package tasks

import (
	"context"
	"fmt"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim/bundle"
)

// Follow takes over what the runtime tells of a pod.
func (s *Service) Follow(e *runtimev1.ContainerEventResponse) {
	for _, t := range s.ofPod(e.GetPodSandboxStatus().GetId()) {
		for _, c := range e.GetContainersStatuses() {
			if c.GetId() == t.guestID && c.GetState() == runtimev1.ContainerState_CONTAINER_EXITED && t.now() != phaseStopped {
				s.wg.Go(func() { s.end(t, endOf(c)) }) // output that nobody reads is not to hold up other tasks
			}
		}
		if t.kind == bundle.Sandbox && e.GetPodSandboxStatus().GetState() == runtimev1.PodSandboxState_SANDBOX_NOTREADY && t.now() != phaseStopped {
			s.wg.Go(func() { s.lose(t) })
		}
	}
}

// lose ends the task of a sandbox that the runtime has lost: without it containerd would put new containers there. Its
// containers are told first.
func (s *Service) lose(t *task) {
	for _, m := range s.members(t) {
		if err := s.look(s.ctx, m); err != nil {
			s.cfg.Logger.Warn("container of a lost sandbox not asked for", "task", m.id, "error", err)
		}
	}
	s.end(t, ending{code: exitKilled, at: s.cfg.Now()})
}

func (s *Service) ofPod(podID string) []*task {
	var list []*task
	for _, t := range s.all() {
		if t.podID == podID {
			list = append(list, t)
		}
	}
	return list
}

// Resync asks the runtime for everything, after its events may have been missed.
func (s *Service) Resync(ctx context.Context) error {
	tasks := s.all() // before the lists: who comes later is not missed by them
	pods, err := s.cfg.Runtime.ListPodSandbox(ctx, &runtimev1.ListPodSandboxRequest{Filter: &runtimev1.PodSandboxFilter{LabelSelector: map[string]string{LabelOwner: s.cfg.Owner}}})
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	ready := map[string]bool{}
	for _, p := range pods.GetItems() {
		ready[p.GetId()] = p.GetState() == runtimev1.PodSandboxState_SANDBOX_READY
	}
	for _, t := range tasks {
		switch {
		case t.now() == phaseStopped:
		case t.guestID != "":
			if err := s.look(ctx, t); err != nil {
				return fmt.Errorf("ask for container: %w", err)
			}
		case !ready[t.podID]:
			s.lose(t)
		}
	}
	return nil
}

// Sweep removes modules that nobody has used for long.
func (s *Service) Sweep(ctx context.Context) error { return s.modules.sweep(ctx) }
