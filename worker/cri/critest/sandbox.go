package critest

import (
	"maps"
	"net"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

var sandboxTests = map[string]func(*suite){
	"Ready":             testReady,
	"Lifecycle":         testSandboxLifecycle,
	"Filters":           testSandboxFilters,
	"RemovesContainers": testSandboxRemovesContainers,
	"Attempts":          testSandboxAttempts,
	"RemovedWhileReady": testSandboxRemovedWhileReady,
}

func testReady(s *suite) {
	s.must(s.Client.WaitReady(s.ctx))
	name, version, err := s.Client.Version(s.ctx)
	s.must(err)
	if name == "" || version == "" {
		s.Errorf("runtime calls itself %q %q, want both", name, version)
	}
	answer, err := s.rt.Status(s.ctx, &runtimev1.StatusRequest{Verbose: true})
	s.must(err)
	for _, c := range answer.GetStatus().GetConditions() {
		if !c.GetStatus() && c.GetReason() == "" {
			s.Errorf("condition %s is false without a reason", c.GetType())
		}
	}
	if len(answer.GetInfo()) == 0 {
		s.Error("verbose status has no information")
	}
	typed, err := s.rt.Version(s.ctx, &runtimev1.VersionRequest{Version: "v1"})
	s.must(err)
	if typed.GetRuntimeApiVersion() != "v1" {
		s.Errorf("API version %q, want v1", typed.GetRuntimeApiVersion())
	}
}

// testSandboxAttempts: a pod's next sandbox has the same name and another attempt; the same attempt is no second one.
func testSandboxAttempts(s *suite) {
	p := s.sandbox()
	if id, err := s.Client.RunPodSandbox(s.ctx, p.config, s.Handler); err == nil && id != p.id {
		s.Errorf("the same pod's same attempt made a second sandbox %s beside %s", id, p.id)
	}
	s.must(s.Client.StopPodSandbox(s.ctx, p.id))
	next := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		c.Metadata.Uid, c.Metadata.Name, c.Metadata.Attempt = p.config.Metadata.Uid, p.config.Metadata.Name, 2
	})
	if next.id == p.id {
		s.Error("the next attempt has the ID of the first")
	}
}

// testSandboxRemovedWhileReady: the CRI asks for a forced removal.
func testSandboxRemovedWhileReady(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	s.must(s.Client.RemovePodSandbox(s.ctx, p.id))
	if _, _, err := s.Client.ContainerStatus(s.ctx, id, false); !cri.IsNotFound(err) {
		s.Errorf("status of its container: %v, want not found", err)
	}
}

func testSandboxLifecycle(s *suite) {
	p := s.sandbox()
	status, err := s.Client.PodSandboxStatus(s.ctx, p.id)
	s.must(err)
	if got := status.GetState(); got != runtimev1.PodSandboxState_SANDBOX_READY {
		s.Errorf("state after run = %v, want ready", got)
	}
	want := p.config.GetAnnotations()[annotationPodIP]
	if got := status.GetNetwork().GetIp(); want != "" && got != want || net.ParseIP(got) == nil {
		s.Errorf("address = %q, want one, and the one asked for by annotation, %q", got, want)
	}
	if got := status.GetRuntimeHandler(); got != s.Handler {
		s.Errorf("handler = %q, want %q", got, s.Handler)
	}
	if got, want := status.GetMetadata().GetUid(), p.config.GetMetadata().GetUid(); got != want {
		s.Errorf("uid = %q, want %q", got, want)
	}
	if !maps.Equal(status.GetLabels(), p.config.GetLabels()) || !maps.Equal(status.GetAnnotations(), p.config.GetAnnotations()) {
		s.Errorf("labels %v and annotations %v did not come back as given", status.GetLabels(), status.GetAnnotations())
	}
	if status.GetCreatedAt() <= 0 {
		s.Error("no creation time")
	}
	for range 2 { // both are idempotent
		s.must(s.Client.StopPodSandbox(s.ctx, p.id))
	}
	status, err = s.Client.PodSandboxStatus(s.ctx, p.id)
	s.must(err)
	if got := status.GetState(); got != runtimev1.PodSandboxState_SANDBOX_NOTREADY {
		s.Errorf("state after stop = %v, want not ready", got)
	}
	for range 2 {
		s.must(s.Client.RemovePodSandbox(s.ctx, p.id))
	}
	if _, err = s.Client.PodSandboxStatus(s.ctx, p.id); !cri.IsNotFound(err) {
		s.Errorf("status after removal: %v, want not found", err)
	}
	s.must(s.Client.StopPodSandbox(s.ctx, p.id))
}

func testSandboxFilters(s *suite) {
	one, two := s.sandbox(), s.sandbox()
	s.must(s.Client.StopPodSandbox(s.ctx, two.id))
	ready := &runtimev1.PodSandboxStateValue{State: runtimev1.PodSandboxState_SANDBOX_READY}
	mine := map[string]string{"test": s.key()}
	for name, check := range map[string]struct {
		filter *runtimev1.PodSandboxFilter
		want   []string
	}{
		"by label":           {&runtimev1.PodSandboxFilter{LabelSelector: mine}, []string{one.id, two.id}},
		"by two labels":      {&runtimev1.PodSandboxFilter{LabelSelector: map[string]string{"test": s.key(), "pod": two.config.GetMetadata().GetName()}}, []string{two.id}},
		"by label and state": {&runtimev1.PodSandboxFilter{LabelSelector: mine, State: ready}, []string{one.id}},
		"by id":              {&runtimev1.PodSandboxFilter{Id: two.id}, []string{two.id}},
		"by id and state":    {&runtimev1.PodSandboxFilter{Id: two.id, State: ready}, nil},
		"nothing":            {&runtimev1.PodSandboxFilter{LabelSelector: map[string]string{"test": "none has this"}}, nil},
	} {
		items, err := s.Client.ListPodSandbox(s.ctx, check.filter)
		s.must(err)
		got := map[string]bool{}
		for _, item := range items {
			got[item.GetId()] = true
			if item.GetMetadata().GetUid() == "" || item.GetAnnotations()["kept"] != "as it is" {
				s.Errorf("%s: listed without its metadata or annotations: %v", name, item)
			}
		}
		s.same(name, got, check.want)
	}
}

func (s *suite) same(name string, got map[string]bool, want []string) {
	s.Helper()
	if len(got) != len(want) {
		s.Errorf("%s: got %d, want %d", name, len(got), len(want))
		return
	}
	for _, id := range want {
		if !got[id] {
			s.Errorf("%s: %s is missing", name, id)
		}
	}
}

func testSandboxRemovesContainers(s *suite) {
	p := s.sandbox()
	running := s.start(p, s.TaskImage, "runs", 0, "sleep", "600000")
	ended := s.start(p, s.TaskImage, "ended", 0, "exit", "0")
	s.exited(ended)
	s.must(s.Client.StopPodSandbox(s.ctx, p.id))
	if got := s.status(running).GetState(); got != runtimev1.ContainerState_CONTAINER_EXITED {
		s.Errorf("container is %v after its sandbox was stopped, want exited", got)
	}
	s.must(s.Client.RemovePodSandbox(s.ctx, p.id))
	for _, id := range []string{running, ended} {
		if _, _, err := s.Client.ContainerStatus(s.ctx, id, false); !cri.IsNotFound(err) {
			s.Errorf("status of a container whose sandbox is gone: %v, want not found", err)
		}
	}
}
