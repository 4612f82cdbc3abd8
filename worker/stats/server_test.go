package stats

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/ptr"
)

var began = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newServer(t *testing.T, sources ...Source) http.Handler {
	t.Helper()
	host := still(t)
	s, err := NewServer(ServerConfig{
		Collector: newCollector(t, host, sources...), Host: host, Node: "node-1", Dir: t.TempDir(),
		Starts: func(string) Starts { return Starts{began, map[string]time.Time{"main": began}} },
		Files: func(Pod) Files {
			return Files{
				Logs: map[string]DiskUse{"main": {Bytes: ptr.To[uint64](3)}}, Volumes: map[string]DiskUse{"v": {Bytes: ptr.To[uint64](3), Inodes: ptr.To[uint64](2)}},
				Other: DiskUse{Bytes: ptr.To[uint64](1)},
			}
		},
		ImageDirs: func(context.Context) map[string]DiskUse {
			return map[string]DiskUse{t.TempDir(): {Bytes: ptr.To[uint64](9)}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	s.Routes(mux)
	return mux
}

func get(t *testing.T, h http.Handler, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

func TestSummary(t *testing.T) {
	rt := &fakeRuntime{}
	rt.set(used("a", "main", 1e9, 100), used("a", "side", -1, 11), used("b", "main", -1, -1))
	h := newServer(t, Source{Runtime: rt, Networks: true})
	var s statsv1.Summary
	if err := json.Unmarshal([]byte(get(t, h, PathSummary)), &s); err != nil {
		t.Fatal(err)
	}
	if s.Node.NodeName != "node-1" || *s.Node.CPU.UsageCoreNanoSeconds != 1000 || s.Node.CPU.UsageNanoCores == nil ||
		s.Node.Fs == nil || *s.Node.Runtime.ImageFs.UsedBytes != 9 || s.Node.Rlimit == nil {
		t.Errorf("node = %+v", s.Node)
	}
	if len(s.Pods) != 2 || len(s.Pods[0].Containers) != 2 {
		t.Fatalf("pods = %+v", s.Pods)
	}
	a, b := s.Pods[0], s.Pods[1]
	if a.PodRef != (statsv1.PodReference{Name: "a", Namespace: "default", UID: "uid-a"}) || !a.StartTime.Time.Equal(began) {
		t.Errorf("pod = %+v", a)
	}
	if *a.Memory.WorkingSetBytes != 111 || *a.CPU.UsageCoreNanoSeconds != 1e9 || *a.EphemeralStorage.UsedBytes != 7 || *a.Network.TxBytes != 20 {
		t.Errorf("pod's sums = %+v %+v %+v", a.CPU, a.Memory, a.EphemeralStorage)
	}
	if v := a.VolumeStats; len(v) != 1 || v[0].Name != "v" || *v[0].UsedBytes != 3 || *a.EphemeralStorage.InodesUsed != 2 || *a.Containers[0].Logs.UsedBytes != 3 || a.Containers[1].Logs != nil {
		t.Errorf("files: %+v %+v %+v", v, a.Containers[0].Logs, a.Containers[1].Logs)
	}
	if c := a.Containers[1]; c.CPU != nil || *c.Memory.WorkingSetBytes != 11 {
		t.Errorf("container of which memory alone was measured = %+v", c)
	}
	if b.CPU.UsageCoreNanoSeconds != nil || b.Containers[0].Memory != nil {
		t.Errorf("what was not measured is told: %+v", b)
	}
	var brief statsv1.Summary
	if err := json.Unmarshal([]byte(get(t, h, PathSummary+"?only_cpu_and_memory=true")), &brief); err != nil {
		t.Fatal(err)
	}
	if brief.Node.Fs != nil || brief.Pods[0].EphemeralStorage != nil || *brief.Pods[0].Memory.WorkingSetBytes != 111 {
		t.Errorf("brief summary = %+v", brief.Pods[0])
	}
}

var line = regexp.MustCompile(`^([a-z_]+)(?:{(.*)})? (\S+)(?: \d+)?$`)

// series reads a page of metrics: the values by name and labels.
func series(t *testing.T, text string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, one := range strings.Split(strings.TrimSpace(text), "\n") {
		if strings.HasPrefix(one, "#") {
			continue
		}
		parts := line.FindStringSubmatch(one)
		if parts == nil {
			t.Fatalf("no line of metrics: %q", one)
		}
		key := strings.TrimSpace(parts[1] + " " + strings.ReplaceAll(strings.ReplaceAll(parts[2], `"`, ""), ",", " "))
		v, err := strconv.ParseFloat(parts[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		out[key] = v
	}
	return out
}

func TestMetricsPages(t *testing.T) {
	rt := &fakeRuntime{}
	rt.set(used("a", "main", 15e8, 100), used("a", "side", 5e8, 11), used("b", "main", -1, -1))
	h := newServer(t, Source{Runtime: rt, Networks: true})
	cases := map[string]map[string]float64{
		PathResource: {
			"node_cpu_usage_seconds_total":                                              1e-6,
			"node_memory_working_set_bytes":                                             600 << 10,
			"container_cpu_usage_seconds_total container=main namespace=default pod=a":  1.5,
			"container_memory_working_set_bytes container=side namespace=default pod=a": 11,
			"container_start_time_seconds container=main namespace=default pod=a":       float64(began.Unix()),
			"pod_cpu_usage_seconds_total namespace=default pod=a":                       2,
			"pod_memory_working_set_bytes namespace=default pod=a":                      111,
			"resource_scrape_error":                                                     0,
		},
		PathCAdvisor: {
			"container_cpu_usage_seconds_total container= cpu=total id=/ image= name= namespace= pod=":                                        1e-6,
			"container_cpu_usage_seconds_total container=main cpu=total id=/poduid-a/id-a-main image= name=id-a-main namespace=default pod=a": 1.5,
			"container_memory_working_set_bytes container=main id=/poduid-a/id-a-main image= name=id-a-main namespace=default pod=a":          100,
			"container_network_transmit_bytes_total container= id=/poduid-a image= interface=eth0 name= namespace=default pod=a":              20,
			"machine_memory_bytes": 1000 << 10, "container_scrape_error": 0,
		},
	}
	for path, wants := range cases {
		got := series(t, get(t, h, path))
		for key, want := range wants {
			if v, ok := got[key]; !ok || v != want {
				t.Errorf("%s: %s = %v (there: %v), want %v", path, key, v, ok, want)
			}
		}
		for key := range got {
			if strings.Contains(key, "pod=b") && !strings.HasPrefix(key, "container_last_seen") && !strings.HasPrefix(key, "container_start_time") {
				t.Errorf("%s tells what was not measured: %s", path, key)
			}
		}
	}
}

func TestPagesOfARuntimeThatIsAway(t *testing.T) {
	h := newServer(t, Source{Runtime: &fakeRuntime{err: errors.New("gone")}})
	if v := series(t, get(t, h, PathResource))["resource_scrape_error"]; v != 1 {
		t.Errorf("resource_scrape_error = %v", v)
	}
	if v := series(t, get(t, h, PathCAdvisor))["container_scrape_error"]; v != 1 {
		t.Errorf("container_scrape_error = %v", v)
	}
}
