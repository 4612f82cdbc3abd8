package crifake

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// eventBuffer is how many events a slow watcher may lag behind; the rest are lost, as a runtime's may be.
const eventBuffer = 4096

type watcher struct {
	events chan *runtimev1.ContainerEventResponse
}

func (s *service) GetContainerEvents(_ *runtimev1.GetEventsRequest, stream grpc.ServerStreamingServer[runtimev1.ContainerEventResponse]) error {
	w := &watcher{events: make(chan *runtimev1.ContainerEventResponse, eventBuffer)}
	s.mu.Lock()
	if s.noEvents {
		s.mu.Unlock()
		return status.Error(codes.Unimplemented, "no events here")
	}
	s.watchers[w] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, w)
		s.mu.Unlock()
	}()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case event := <-w.events:
			if err := stream.Send(event); err != nil {
				return err
			}
		}
	}
}

// tell is called with mu held.
func (r *Runtime) tell(c *container, kind runtimev1.ContainerEventType) {
	event := &runtimev1.ContainerEventResponse{ContainerId: c.id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano()}
	if b := r.sandboxes[c.sandboxID]; b != nil {
		event.PodSandboxStatus = b.status()
	}
	event.ContainersStatuses = []*runtimev1.ContainerStatus{c.status()}
	for w := range r.watchers {
		select {
		case w.events <- event:
		default:
		}
	}
}
