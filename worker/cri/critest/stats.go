package critest

import (
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var statsTests = map[string]func(*suite){
	"OfContainer": testContainerStats,
	"List":        testListStats,
	"OfSandbox":   testSandboxStats,
	"OfUnknown":   testStatsOfUnknown,
	"Unfiltered":  testUnfilteredStats,
	"Metrics":     testMetrics,
}

func testContainerStats(s *suite) {
	p := s.sandbox(8642)
	id := s.start(p, s.ServerImage, "web", 0)
	s.answers(p)
	var last *runtimev1.ContainerStats
	s.eventually("figures of a running container", func() bool {
		s.answers(p) // each takes a little
		answer, err := s.rt.ContainerStats(s.ctx, &runtimev1.ContainerStatsRequest{ContainerId: id})
		s.must(err)
		last = answer.GetStats()
		return last.GetMemory().GetWorkingSetBytes().GetValue() > 0 && last.GetCpu().GetUsageCoreNanoSeconds().GetValue() > 0
	})
	if a := last.GetAttributes(); a.GetId() != id || a.GetMetadata().GetName() != "web" || a.GetLabels()["container"] != "web" || a.GetAnnotations()["restarts"] != "0" {
		s.Errorf("attributes %v", a)
	}
	if last.GetCpu().GetTimestamp() <= 0 || last.GetMemory().GetTimestamp() <= 0 {
		s.Errorf("figures without a time: %v", last)
	}
}

func testListStats(s *suite) {
	p, q := s.sandbox(), s.sandbox()
	one := s.start(p, s.TaskImage, "one", 0, "sleep", "600000")
	two := s.start(q, s.TaskImage, "two", 0, "sleep", "600000")
	ended := s.start(p, s.TaskImage, "ended", 0, "exit", "0")
	s.exited(ended)
	mine := map[string]string{"test": s.key()}
	for name, check := range map[string]struct {
		filter *runtimev1.ContainerStatsFilter
		want   []string
	}{
		"by label":   {&runtimev1.ContainerStatsFilter{LabelSelector: mine}, []string{one, two}},
		"by sandbox": {&runtimev1.ContainerStatsFilter{PodSandboxId: q.id}, []string{two}},
		"by id":      {&runtimev1.ContainerStatsFilter{Id: one}, []string{one}},
		"nothing":    {&runtimev1.ContainerStatsFilter{LabelSelector: map[string]string{"test": "none has this"}}, nil},
	} {
		got := map[string]bool{}
		s.must(s.Client.EachContainerStats(s.ctx, check.filter, func(c *runtimev1.ContainerStats) {
			if c.GetAttributes().GetId() != ended { // runtimes differ on those that have ended
				got[c.GetAttributes().GetId()] = true
			}
		}))
		s.same(name, got, check.want)
	}
}

func testSandboxStats(s *suite) {
	p := s.sandbox()
	id := s.start(p, s.TaskImage, "main", 0, "sleep", "600000")
	answer, err := s.rt.PodSandboxStats(s.ctx, &runtimev1.PodSandboxStatsRequest{PodSandboxId: p.id})
	s.must(err)
	stats := answer.GetStats()
	if a := stats.GetAttributes(); a.GetId() != p.id || a.GetMetadata().GetUid() != p.config.GetMetadata().GetUid() || a.GetLabels()["test"] != s.key() {
		s.Errorf("attributes %v", a)
	}
	found := false
	for _, c := range stats.GetLinux().GetContainers() {
		found = found || c.GetAttributes().GetId() == id
	}
	if !found {
		s.Errorf("its container is not among %d", len(stats.GetLinux().GetContainers()))
	}
	list, err := s.Client.ListPodSandboxStats(s.ctx, &runtimev1.PodSandboxStatsFilter{LabelSelector: map[string]string{"test": s.key()}})
	s.must(err)
	if len(list) != 1 || list[0].GetAttributes().GetId() != p.id {
		s.Errorf("listed %d", len(list))
	}
}

func testStatsOfUnknown(s *suite) {
	if _, err := s.rt.ContainerStats(s.ctx, &runtimev1.ContainerStatsRequest{ContainerId: "no-such-container"}); err == nil {
		s.Error("of a container: no error")
	}
	if _, err := s.rt.PodSandboxStats(s.ctx, &runtimev1.PodSandboxStatsRequest{PodSandboxId: "no-such-sandbox"}); err == nil {
		s.Error("of a sandbox: no error")
	}
}
