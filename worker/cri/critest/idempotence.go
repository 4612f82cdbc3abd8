package critest

import (
	"sync"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

// idempotenceTests: whoever asks for an end that is there already has what it wanted. The calls go to the runtime itself,
// since the worker's client forgives runtimes that answer NotFound.
var idempotenceTests = map[string]func(*suite){
	"Container":         testContainerIdempotence,
	"UnknownSandbox":    testUnknownSandbox,
	"UnknownContainer":  testUnknownContainer,
	"UnknownImage":      testUnknownImage,
	"StopSandboxTwice":  testStopSandboxTwice,
	"StopAtTheSameTime": testStopAtTheSameTime,
}

func testContainerIdempotence(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	for range 2 {
		s.must(s.Client.StopContainer(s.ctx, id, 0))
	}
	for range 2 {
		s.must(s.Client.RemoveContainer(s.ctx, id))
	}
	s.must(s.Client.StopContainer(s.ctx, id, 0))
	running := s.start(p, s.TaskImage, "main", 1, "sleep", "600000")
	s.must(s.Client.RemoveContainer(s.ctx, running)) // kills it first
	if _, _, err := s.Client.ContainerStatus(s.ctx, running, false); !cri.IsNotFound(err) {
		s.Errorf("status of a removed running container: %v, want not found", err)
	}
}

func testUnknownSandbox(s *suite) {
	if _, err := s.rt.RemovePodSandbox(s.ctx, &runtimev1.RemovePodSandboxRequest{PodSandboxId: "no-such-sandbox"}); err != nil {
		s.Errorf("removing a sandbox that is not there: %v", err)
	}
	if _, err := s.rt.PodSandboxStatus(s.ctx, &runtimev1.PodSandboxStatusRequest{PodSandboxId: "no-such-sandbox"}); !cri.IsNotFound(err) {
		s.Errorf("its status: %v, want not found", err)
	}
	p := s.sandbox()
	s.must(s.Client.RemovePodSandbox(s.ctx, p.id))
	if _, err := s.rt.RemovePodSandbox(s.ctx, &runtimev1.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		s.Errorf("removing a sandbox that was removed: %v", err)
	}
}

func testUnknownContainer(s *suite) {
	if _, err := s.rt.RemoveContainer(s.ctx, &runtimev1.RemoveContainerRequest{ContainerId: "no-such-container"}); err != nil {
		s.Errorf("removing a container that is not there: %v", err)
	}
	if _, err := s.rt.StartContainer(s.ctx, &runtimev1.StartContainerRequest{ContainerId: "no-such-container"}); err == nil {
		s.Error("starting a container that is not there: no error")
	}
	if items, err := s.Client.ListContainers(s.ctx, &runtimev1.ContainerFilter{Id: "no-such-container"}); err != nil || len(items) != 0 {
		s.Errorf("listing it: %v, %v", items, err)
	}
}

func testUnknownImage(s *suite) {
	for range 2 {
		if _, err := s.images.RemoveImage(s.ctx, &runtimev1.RemoveImageRequest{Image: &runtimev1.ImageSpec{Image: "example.invalid/no/such:image"}}); err != nil {
			s.Errorf("removing an image that is not there: %v", err)
		}
	}
}

func testStopSandboxTwice(s *suite) {
	p := s.sandbox()
	s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	for range 2 {
		if _, err := s.rt.StopPodSandbox(s.ctx, &runtimev1.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			s.Errorf("stop: %v", err)
		}
	}
	for range 2 {
		if _, err := s.rt.RemovePodSandbox(s.ctx, &runtimev1.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
			s.Errorf("remove: %v", err)
		}
	}
}

// testStopAtTheSameTime: a worker that restarts may ask again for what is under way.
func testStopAtTheSameTime(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := s.Client.StopContainer(s.ctx, id, 0); err != nil {
				s.Errorf("stop: %v", err)
			}
		})
	}
	wg.Wait()
	if state := s.status(id).GetState(); state != runtimev1.ContainerState_CONTAINER_EXITED {
		s.Errorf("state %v", state)
	}
}
