package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

func TestFilters(t *testing.T) {
	s := newScene(t)
	names := map[string]string{s.running: "running", s.created: "created", s.exited: "exited"}
	state := func(s runtimev1.ContainerState) *runtimev1.ContainerStateValue {
		return &runtimev1.ContainerStateValue{State: s}
	}
	for want, f := range map[string]*runtimev1.ContainerFilter{
		"exited created running": nil, // the newest first
		"running":                {State: state(runtimev1.ContainerState_CONTAINER_RUNNING)},
		"exited":                 {LabelSelector: map[string]string{"name": "exited"}},
		"created":                {Id: s.created[:10]},
		"":                       {Id: s.created, State: state(runtimev1.ContainerState_CONTAINER_RUNNING)},
	} {
		var got []string
		for _, id := range s.list(f) {
			got = append(got, names[id])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("filter %v: %v, want %s", f, got, want)
		}
	}
	for _, f := range []*runtimev1.ContainerFilter{{PodSandboxId: s.stopped.id}, {PodSandboxId: unknown}, {Id: unknown}, {LabelSelector: map[string]string{"no": ""}}, {PodSandboxId: s.stopped.id, Id: s.running}} {
		if got := s.list(f); len(got) != 0 {
			t.Errorf("filter %v: %v, want none", f, got)
		}
	}
	if got := s.list(&runtimev1.ContainerFilter{PodSandboxId: s.pod.id[:12]}); len(got) != 3 {
		t.Errorf("by the begin of the sandbox's id: %v", got)
	}
	ready, err := s.rt.ListPodSandbox(s.ctx(), &runtimev1.ListPodSandboxRequest{Filter: &runtimev1.PodSandboxFilter{
		State: &runtimev1.PodSandboxStateValue{State: runtimev1.PodSandboxState_SANDBOX_READY}}})
	if err != nil || len(ready.Items) != 1 || ready.Items[0].Id != s.pod.id {
		t.Errorf("ready sandboxes %v, %v", ready, err)
	}
}

func TestStatusIsWhole(t *testing.T) {
	s := newScene(t)
	r, err := s.rt.PodSandboxStatus(s.ctx(), &runtimev1.PodSandboxStatusRequest{PodSandboxId: s.pod.id[:16], Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status.Id != s.pod.id || len(r.Status.Id) != 64 || r.Status.Network.Ip != s.pod.ip || len(r.ContainersStatuses) != 3 || r.Timestamp == 0 || r.Info["petrel"] == "" {
		t.Errorf("sandbox %+v", r)
	}
	if got := time.Since(time.Unix(0, r.Status.CreatedAt)); got < 0 || got > time.Minute {
		t.Errorf("created %v ago", got)
	}
	c := s.status(s.running)
	if c.Metadata.Name != "running" || c.LogPath != filepath.Join(s.pod.config.LogDirectory, "running/0.log") || c.StartedAt < c.CreatedAt || c.FinishedAt != 0 {
		t.Errorf("container %+v", c)
	}
	v, err := s.rt.Version(s.ctx(), &runtimev1.VersionRequest{})
	if err != nil || v.RuntimeName != "petrel-wasmrt" || v.RuntimeApiVersion != "v1" || v.RuntimeVersion == "" {
		t.Errorf("version %v, %v", v, err)
	}
	st, err := s.rt.Status(s.ctx(), &runtimev1.StatusRequest{})
	if err != nil || len(st.Info) != 0 || len(st.Status.Conditions) != 2 {
		t.Errorf("status %v, %v", st, err)
	}
	var handlers []string
	for _, h := range st.RuntimeHandlers {
		handlers = append(handlers, h.Name)
	}
	if fmt.Sprint(handlers) != "[ wasm]" {
		t.Errorf("handlers %q", handlers)
	}
	if _, err := s.rt.RuntimeConfig(s.ctx(), &runtimev1.RuntimeConfigRequest{}); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(s.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
}

func TestStats(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.wantAnswer(s.pod, "hello")
	}
	one, err := s.rt.ContainerStats(s.ctx(), &runtimev1.ContainerStatsRequest{ContainerId: s.running})
	if err != nil || one.Stats.Attributes.Id != s.running || one.Stats.WritableLayer.UsedBytes.Value != 0 || one.Stats.Cpu == nil || one.Stats.Memory == nil {
		t.Errorf("stats %v, %v", one, err)
	}
	all, err := s.rt.ListContainerStats(s.ctx(), &runtimev1.ListContainerStatsRequest{})
	if err != nil || len(all.Stats) != 1 {
		t.Errorf("stats of running containers %v, %v", all, err)
	}
	pods, err := s.rt.ListPodSandboxStats(s.ctx(), &runtimev1.ListPodSandboxStatsRequest{})
	if err != nil || len(pods.Stats) != 1 || len(pods.Stats[0].Linux.Containers) != 1 {
		t.Errorf("stats of sandboxes %v, %v", pods, err)
	}
	described, err := s.rt.ListMetricDescriptors(s.ctx(), &runtimev1.ListMetricDescriptorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.rt.ListPodSandboxMetrics(s.ctx(), &runtimev1.ListPodSandboxMetricsRequest{})
	if err != nil || len(m.PodMetrics) != 1 || len(m.PodMetrics[0].ContainerMetrics) != 1 {
		t.Fatalf("metrics %v, %v", m, err)
	}
	for _, metric := range m.PodMetrics[0].ContainerMetrics[0].Metrics {
		if !slices.ContainsFunc(described.Descriptors, func(d *runtimev1.MetricDescriptor) bool {
			return d.Name == metric.Name && len(d.LabelKeys) == len(metric.LabelValues)
		}) {
			t.Errorf("metric %s is not described", metric.Name)
		}
		if metric.Name == "petrel_container_requests_total" && metric.Value.Value != 3 {
			t.Errorf("%d requests", metric.Value.Value)
		}
	}
	// A kubelet passes these on as its own: their labels are what its users select by.
	for name, wants := range map[string]uint64{
		"container_memory_working_set_bytes": 1, "container_memory_usage_bytes": 1, "container_memory_rss": 1, "container_cpu_usage_seconds_total": 0,
		"container_start_time_seconds": uint64(time.Now().Add(-time.Hour).Unix()), "container_last_seen": uint64(time.Now().Add(-time.Hour).Unix()),
	} {
		labels, value := series(described, m.PodMetrics[0].ContainerMetrics[0].Metrics, name)
		if labels["namespace"] != "default" || labels["pod"] == "" || labels["container"] == "" || labels["id"] != s.running || value < wants {
			t.Errorf("%s = %d of %v", name, value, labels)
		}
		if cpu, ok := labels["cpu"]; ok != strings.Contains(name, "cpu") || ok && cpu != "total" {
			t.Errorf("%s is of %v", name, labels)
		}
	}
	fs, err := s.img.ImageFsInfo(s.ctx(), &runtimev1.ImageFsInfoRequest{})
	if err != nil || fs.ImageFilesystems[0].UsedBytes.Value == 0 || fs.ImageFilesystems[0].InodesUsed.Value < 5 {
		t.Errorf("image file system %v, %v", fs, err)
	}
}

// series finds a metric, and its labels by their keys.
func series(described *runtimev1.ListMetricDescriptorsResponse, all []*runtimev1.Metric, name string) (map[string]string, uint64) {
	labels := map[string]string{}
	for _, m := range all {
		for _, d := range described.Descriptors {
			if m.Name != name || d.Name != name {
				continue
			}
			for n, key := range d.LabelKeys {
				labels[key] = m.LabelValues[n]
			}
			return labels, m.Value.Value
		}
	}
	return labels, 0
}

// A command is measured too, while it does nothing but wait.
func TestStatsOfCommand(t *testing.T) {
	n := newNode(t)
	image, _ := n.reg.push("x/sleeper", wasmtest.Sleep("", time.Hour))
	n.pull(image)
	id := n.launch(n.run(n.podConfig("default")), containerConfig("sleeper", image))
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		one, err := n.rt.ContainerStats(n.ctx(), &runtimev1.ContainerStatsRequest{ContainerId: id})
		if err != nil {
			t.Fatal(err)
		}
		memory := one.GetStats().GetMemory()
		if one.GetStats().GetCpu().GetUsageCoreNanoSeconds().GetValue() > 0 && memory.GetWorkingSetBytes().GetValue() >= 65536 && memory.GetUsageBytes().GetValue() >= 65536 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("stats %v", one)
		}
	}
}

func TestStreamedListsAgreeWithPlainOnes(t *testing.T) {
	s := newScene(t)
	sandboxes, err := s.rt.StreamPodSandboxes(s.ctx(), &runtimev1.StreamPodSandboxesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for {
		page, err := sandboxes.Recv()
		if err != nil {
			break
		}
		got += len(page.PodSandboxes)
	}
	if got != 2 {
		t.Errorf("%d sandboxes", got)
	}
	containers, err := s.rt.StreamContainers(s.ctx(), &runtimev1.StreamContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if page, err := containers.Recv(); err != nil || len(page.Containers) != 3 {
		t.Errorf("containers %v, %v", page, err)
	}
	images, err := s.img.StreamImages(s.ctx(), &runtimev1.StreamImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if page, err := images.Recv(); err != nil || len(page.Images) != 2 {
		t.Errorf("images %v, %v", page, err)
	}
	metrics, err := s.rt.StreamPodSandboxMetrics(s.ctx(), &runtimev1.StreamPodSandboxMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if page, err := metrics.Recv(); err != nil || len(page.PodSandboxMetrics) != 1 {
		t.Errorf("metrics %v, %v", page, err)
	}
	stats, err := s.rt.StreamContainerStats(s.ctx(), &runtimev1.StreamContainerStatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if page, err := stats.Recv(); err != nil || len(page.ContainerStats) != 1 {
		t.Errorf("stats %v, %v", page, err)
	}
	pods, err := s.rt.StreamPodSandboxStats(s.ctx(), &runtimev1.StreamPodSandboxStatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if page, err := pods.Recv(); err != nil || len(page.PodSandboxStats) != 1 {
		t.Errorf("stats %v, %v", page, err)
	}
}
