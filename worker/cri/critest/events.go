package critest

import (
	"context"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var eventTests = map[string]func(*suite){
	"Life":     testEvents,
	"Deletion": testDeletionEvents,
}

func testEvents(s *suite) {
	events := s.listen()
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "exit", "5")
	s.expect(events, p, id, runtimev1.ContainerEventType_CONTAINER_CREATED_EVENT, runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT,
		runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

func testDeletionEvents(s *suite) {
	events := s.listen()
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	s.must(s.Client.StopContainer(s.ctx, id, 0))
	s.must(s.Client.RemoveContainer(s.ctx, id))
	s.expect(events, p, id, runtimev1.ContainerEventType_CONTAINER_CREATED_EVENT, runtimev1.ContainerEventType_CONTAINER_STARTED_EVENT,
		runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT, runtimev1.ContainerEventType_CONTAINER_DELETED_EVENT)
}

// listen takes in events until the test ends. The runtime accepts the stream on its own time: that it has is shown by the
// events of a sandbox of its own.
func (s *suite) listen() <-chan *runtimev1.ContainerEventResponse {
	s.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	events := make(chan *runtimev1.ContainerEventResponse, 1024)
	done := make(chan error, 1)
	go func() {
		done <- s.Client.Events(ctx, func() {}, func(e *runtimev1.ContainerEventResponse) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()
	s.Cleanup(func() { cancel(); <-done })
	p := s.sandbox()
	for n := uint32(0); ; n++ {
		id := s.create(p, s.TaskImage, "herald", n)
		for wait := time.After(time.Second); ; {
			select {
			case e := <-events:
				if e.GetContainerId() == id {
					return events
				}
				continue
			case err := <-done:
				done <- err
				s.Fatalf("events: %v", err)
			case <-wait:
			}
			break
		}
	}
}

// expect waits for the container's events in their order.
func (s *suite) expect(events <-chan *runtimev1.ContainerEventResponse, p *pod, id string, want ...runtimev1.ContainerEventType) {
	s.Helper()
	deadline := time.After(patience)
	for len(want) > 0 {
		select {
		case e := <-events:
			if e.GetContainerId() != id {
				continue
			}
			if e.GetContainerEventType() != want[0] {
				s.Errorf("event %v, want %v", e.GetContainerEventType(), want[0])
			}
			if got := e.GetPodSandboxStatus().GetMetadata().GetUid(); got != p.config.GetMetadata().GetUid() {
				s.Errorf("event names pod %q, want %q: the worker finds the pod by it", got, p.config.GetMetadata().GetUid())
			}
			want = want[1:]
		case <-deadline:
			s.Fatalf("no event %v within %v", want[0], patience)
		}
	}
}
