package critest

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// testUnfilteredStats: without a filter all are told.
func testUnfilteredStats(s *suite) {
	want := map[string]bool{}
	for _, name := range []string{"one", "two", "three"} {
		want[s.start(s.sandbox(), s.TaskImage, name, 0, "sleep", "600000")] = true
	}
	answer, err := s.rt.ListContainerStats(s.ctx, &runtimev1.ListContainerStatsRequest{})
	s.must(err)
	for _, c := range answer.GetStats() {
		delete(want, c.GetAttributes().GetId())
	}
	if len(want) > 0 {
		s.Errorf("%d running containers are not told", len(want))
	}
}

// testMetrics: every figure of a running container's pod has a description, and a value for each label of that.
func testMetrics(s *suite) {
	described, err := s.rt.ListMetricDescriptors(s.ctx, &runtimev1.ListMetricDescriptorsRequest{})
	if status.Code(err) == codes.Unimplemented {
		s.Skip("the runtime tells no metrics of its own")
	}
	s.must(err)
	labels := map[string]int{}
	for _, d := range described.GetDescriptors() {
		if d.GetName() == "" || d.GetHelp() == "" {
			s.Errorf("described without a name or help: %v", d)
		}
		labels[d.GetName()] = len(d.GetLabelKeys())
	}
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	var own *runtimev1.PodSandboxMetrics
	s.eventually("figures of a running container", func() bool {
		answer, err := s.rt.ListPodSandboxMetrics(s.ctx, &runtimev1.ListPodSandboxMetricsRequest{})
		s.must(err)
		for _, m := range answer.GetPodMetrics() {
			if m.GetPodSandboxId() == p.id {
				own = m
			}
		}
		return len(own.GetContainerMetrics()) > 0 && len(own.GetContainerMetrics()[0].GetMetrics()) > 0
	})
	all := own.GetMetrics()
	for _, c := range own.GetContainerMetrics() {
		if c.GetContainerId() != id {
			s.Errorf("figures of a container %s that is not the pod's", c.GetContainerId())
		}
		all = append(all, c.GetMetrics()...)
	}
	for _, m := range all {
		if want, ok := labels[m.GetName()]; !ok || len(m.GetLabelValues()) != want || m.GetValue() == nil {
			s.Errorf("%v: described %v with %d labels", m, ok, want)
		}
	}
}
