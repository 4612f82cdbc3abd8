package critest

import (
	"maps"
	"slices"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

var containerTests = map[string]func(*suite){
	"Lifecycle":        testContainerLifecycle,
	"Filters":          testContainerFilters,
	"Refusals":         testContainerRefusals,
	"ExitCodes":        testExitCodes,
	"Environment":      testEnvironment,
	"RestartInSandbox": testRestartInSandbox,
	"RemovedUnstarted": testContainerRemovedUnstarted,
	"StopOfUnstarted":  testStopOfUnstarted,
	"KilledAfterGrace": testKilledAfterGrace,
	"VerboseStatus":    testVerboseStatus,
}

func testContainerLifecycle(s *suite) {
	p := s.sandbox()
	id := s.create(p, s.TaskImage, "main", 3, "sleep", "600000")
	status := s.status(id)
	if status.GetState() != runtimev1.ContainerState_CONTAINER_CREATED || status.GetCreatedAt() <= 0 {
		s.Errorf("after create: state %v, created %d", status.GetState(), status.GetCreatedAt())
	}
	config := s.containerConfig(p, s.TaskImage, "main", 3)
	if status.GetMetadata().GetName() != "main" || status.GetMetadata().GetAttempt() != 3 {
		s.Errorf("metadata = %v, want main, attempt 3", status.GetMetadata())
	}
	if !maps.Equal(status.GetLabels(), config.GetLabels()) || !maps.Equal(status.GetAnnotations(), config.GetAnnotations()) {
		s.Errorf("labels %v and annotations %v did not come back as given", status.GetLabels(), status.GetAnnotations())
	}
	if status.GetImageRef() == "" || status.GetImage().GetImage() == "" {
		s.Errorf("image = %v, ref = %q, want both", status.GetImage(), status.GetImageRef())
	}
	before := time.Now().Add(-time.Second).UnixNano()
	s.must(s.Client.StartContainer(s.ctx, id))
	status = s.status(id)
	if status.GetState() != runtimev1.ContainerState_CONTAINER_RUNNING || status.GetStartedAt() < before {
		s.Errorf("after start: state %v, started %d", status.GetState(), status.GetStartedAt())
	}
	s.must(s.Client.StopContainer(s.ctx, id, time.Second))
	status = s.status(id)
	if status.GetState() != runtimev1.ContainerState_CONTAINER_EXITED {
		s.Errorf("state after stop = %v, want exited: StopContainer returns when it has ended", status.GetState())
	}
	if status.GetFinishedAt() < status.GetStartedAt() {
		s.Errorf("finished at %d, before its start at %d", status.GetFinishedAt(), status.GetStartedAt())
	}
	s.must(s.Client.RemoveContainer(s.ctx, id))
	if _, _, err := s.Client.ContainerStatus(s.ctx, id, false); !cri.IsNotFound(err) {
		s.Errorf("status after removal: %v, want not found", err)
	}
}

func testContainerFilters(s *suite) {
	p, q := s.sandbox(), s.sandbox()
	created := s.create(p, s.TaskImage, "created", 0)
	running := s.start(p, s.TaskImage, "running", 0, "sleep", "600000")
	other := s.start(q, s.TaskImage, "running", 0, "sleep", "600000")
	up := &runtimev1.ContainerStateValue{State: runtimev1.ContainerState_CONTAINER_RUNNING}
	mine := map[string]string{"test": s.key()}
	for name, check := range map[string]struct {
		filter *runtimev1.ContainerFilter
		want   []string
	}{
		"by label":           {&runtimev1.ContainerFilter{LabelSelector: mine}, []string{created, running, other}},
		"by label and state": {&runtimev1.ContainerFilter{LabelSelector: mine, State: up}, []string{running, other}},
		"by sandbox":         {&runtimev1.ContainerFilter{PodSandboxId: p.id}, []string{created, running}},
		"by sandbox, state":  {&runtimev1.ContainerFilter{PodSandboxId: p.id, State: up}, []string{running}},
		"by id":              {&runtimev1.ContainerFilter{Id: created}, []string{created}},
		"by id of another":   {&runtimev1.ContainerFilter{Id: other, PodSandboxId: p.id}, nil},
	} {
		items, err := s.Client.ListContainers(s.ctx, check.filter)
		s.must(err)
		got := map[string]bool{}
		for _, item := range items {
			got[item.GetId()] = true
			if item.GetMetadata().GetName() == "" || item.GetPodSandboxId() == "" || item.GetAnnotations()["restarts"] != "0" {
				s.Errorf("%s: listed without its metadata, sandbox or annotations: %v", name, item)
			}
		}
		s.same(name, got, check.want)
	}
}

func testContainerRefusals(s *suite) {
	p := s.sandbox()
	id := s.create(p, s.TaskImage, "main", 0, "sleep", "600000")
	s.must(s.Client.StartContainer(s.ctx, id))
	config := s.containerConfig(p, s.TaskImage, "second", 0)
	for name, call := range map[string]func() error{
		"start twice":       func() error { return s.Client.StartContainer(s.ctx, id) },
		"start the unknown": func() error { return s.Client.StartContainer(s.ctx, "no-such-container") },
		"create in the unknown": func() error {
			_, err := s.Client.CreateContainer(s.ctx, "no-such-sandbox", config, p.config)
			return err
		},
		"create without image": func() error {
			missing := s.containerConfig(p, "example.invalid/never/pulled:1", "third", 0)
			_, err := s.Client.CreateContainer(s.ctx, p.id, missing, p.config)
			return err
		},
		"run without metadata": func() error {
			_, err := s.Client.RunPodSandbox(s.ctx, &runtimev1.PodSandboxConfig{}, s.Handler)
			return err
		},
		"run with an unknown handler": func() error {
			_, err := s.Client.RunPodSandbox(s.ctx, s.podConfig(), "no-such-handler")
			return err
		},
	} {
		if err := call(); err == nil {
			s.Errorf("%s: no error", name)
		}
	}
	s.must(s.Client.StopPodSandbox(s.ctx, p.id))
	if _, err := s.Client.CreateContainer(s.ctx, p.id, config, p.config); err == nil {
		s.Error("create in a stopped sandbox: no error")
	}
}

func testExitCodes(s *suite) {
	for code, want := range map[string]int32{"0": 0, "3": 3, "42": 42} {
		p := s.sandbox()
		status := s.exited(s.start(p, s.TaskImage, "main", 0, "exit", code))
		if status.GetExitCode() != want {
			s.Errorf("exit %s: code %d (%s)", code, status.GetExitCode(), status.GetReason())
		}
		// A runtime may note the start when its own call to start has returned.
		if status.GetFinishedAt() < status.GetStartedAt()-int64(time.Second) || status.GetStartedAt() <= 0 {
			s.Errorf("exit %s: started %d, finished %d", code, status.GetStartedAt(), status.GetFinishedAt())
		}
	}
}

func testEnvironment(s *suite) {
	p := s.sandbox()
	s.exited(s.start(p, s.TaskImage, "main", 0, "env", "GREETING", "env", "NOT_SET"))
	lines := s.logLines(p, "main/0.log")
	for _, want := range []string{"stdout GREETING=héllo = world", "stdout NOT_SET="} {
		if !slices.Contains(lines, want) {
			s.Errorf("log %q lacks %q", lines, want)
		}
	}
}

func testRestartInSandbox(s *suite) {
	p := s.sandbox()
	first := s.start(p, s.TaskImage, "main", 0, "exit", "1")
	s.exited(first)
	second := s.start(p, s.TaskImage, "main", 1, "exit", "2")
	if got := s.exited(second).GetExitCode(); got != 2 {
		s.Errorf("second attempt's code = %d, want 2", got)
	}
	if got := s.exited(first).GetExitCode(); got != 1 {
		s.Errorf("first attempt's code = %d after the second, want 1", got)
	}
	status, err := s.Client.PodSandboxStatus(s.ctx, p.id)
	s.must(err)
	if status.GetState() != runtimev1.PodSandboxState_SANDBOX_READY {
		s.Errorf("sandbox is %v after its container ended, want ready", status.GetState())
	}
}

func testContainerRemovedUnstarted(s *suite) {
	p := s.sandbox()
	id := s.create(p, s.TaskImage, "main", 0)
	s.must(s.Client.RemoveContainer(s.ctx, id))
	if _, _, err := s.Client.ContainerStatus(s.ctx, id, false); !cri.IsNotFound(err) {
		s.Errorf("status after removal: %v, want not found", err)
	}
	// Its name is free again.
	s.must(s.Client.StartContainer(s.ctx, s.create(p, s.TaskImage, "main", 0)))
}

// testStopOfUnstarted: stopping a container that never ran is no error, and it never runs afterwards.
func testStopOfUnstarted(s *suite) {
	p := s.sandbox()
	id := s.create(p, s.TaskImage, "main", 0, "sleep", "600000")
	s.must(s.Client.StopContainer(s.ctx, id, time.Second))
	if state := s.status(id).GetState(); state == runtimev1.ContainerState_CONTAINER_RUNNING {
		s.Errorf("state %v after it was stopped unstarted", state)
	}
}

// testKilledAfterGrace: who does not end when it is asked to is ended when its grace is over, and soon after it.
func testKilledAfterGrace(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	begun := time.Now()
	s.must(s.Client.StopContainer(s.ctx, id, 0))
	if took := time.Since(begun); took > patience/4 {
		s.Errorf("stopping without grace took %s", took)
	}
	if status := s.status(id); status.GetState() != runtimev1.ContainerState_CONTAINER_EXITED || status.GetExitCode() == 0 {
		s.Errorf("killed: %v, exit code %d", status.GetState(), status.GetExitCode())
	}
}

func testVerboseStatus(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	_, info, err := s.Client.ContainerStatus(s.ctx, id, true)
	s.must(err)
	if len(info) == 0 {
		s.Error("verbose status of a container has no information")
	}
	if _, info, err = s.Client.ContainerStatus(s.ctx, id, false); err != nil || len(info) != 0 {
		s.Errorf("status that is not verbose: %v, %v", info, err)
	}
	answer, err := s.rt.PodSandboxStatus(s.ctx, &runtimev1.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	s.must(err)
	if len(answer.GetInfo()) == 0 {
		s.Error("verbose status of a sandbox has no information")
	}
}
