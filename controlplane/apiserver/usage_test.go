package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	metricsv1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"
	"k8s.io/utils/ptr"
)

// usageClient is the client that kubectl top uses.
func usageClient(t *testing.T, contentType string) metricsclient.Interface {
	t.Helper()
	c, err := metricsclient.NewForConfig(&rest.Config{Host: base, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: contentType, AcceptContentTypes: contentType}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var measured = metav1.NewTime(time.Unix(1_800_000_000, 0))

// container took millicores and bytes; none where negative.
func container(name string, milli, bytes int64) statsv1.ContainerStats {
	c := statsv1.ContainerStats{Name: name}
	if milli >= 0 {
		c.CPU = &statsv1.CPUStats{Time: measured, UsageNanoCores: ptr.To(uint64(milli) * 1e6)}
	}
	if bytes >= 0 {
		c.Memory = &statsv1.MemoryStats{Time: measured, WorkingSetBytes: ptr.To(uint64(bytes))}
	}
	return c
}

// tells registers a node that answers with the summary.
func tells(t *testing.T, name string, summary *statsv1.Summary) {
	t.Helper()
	summary.Node.CPU = &statsv1.CPUStats{Time: measured, UsageNanoCores: ptr.To[uint64](1_500_000_000)}
	summary.Node.Memory = &statsv1.MemoryStats{Time: measured, WorkingSetBytes: ptr.To[uint64](3 << 30)}
	nodeWith(t, name, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats/summary" || r.URL.Query().Get("only_cpu_and_memory") != "true" {
			http.Error(w, "asked for "+r.URL.String(), http.StatusTeapot)
			return
		}
		w.Header().Set(windowHeader, "2.5s")
		_ = json.NewEncoder(w).Encode(summary)
	})
}

// on makes a pod on the node and its part of the summary.
func on(t *testing.T, ns, name, node string, containers ...statsv1.ContainerStats) statsv1.PodStats {
	t.Helper()
	podOn(t, ns, name, node, "c")
	p, err := client(t, contentJSON).CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return statsv1.PodStats{PodRef: statsv1.PodReference{Namespace: ns, Name: name, UID: string(p.UID)}, Containers: containers}
}

func TestUsage(t *testing.T) {
	ns := space(t)
	one, two := &statsv1.Summary{}, &statsv1.Summary{}
	tells(t, "usage-1", one)
	tells(t, "usage-2", two)
	one.Pods = []statsv1.PodStats{
		on(t, ns, "a", "usage-1", container("c", 250, 1<<20), container("side", 5, 1<<10)), on(t, ns, "unmeasured", "usage-1", container("c", -1, 7)),
		{PodRef: statsv1.PodReference{Namespace: ns, Name: "b", UID: "another of its name"}, Containers: []statsv1.ContainerStats{container("c", 9, 9)}},
	}
	two.Pods = []statsv1.PodStats{on(t, ns, "b", "usage-2", container("c", 0, 1<<30))}
	podOn(t, ns, "unbound", "", "c")
	for _, contentType := range []string{contentJSON, contentProtobuf} {
		c := usageClient(t, contentType).MetricsV1beta1()
		pods, err := c.PodMetricses(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 2 {
			t.Fatalf("%s: pods = %+v, %v; want a and b", contentType, pods, err)
		}
		a, b := pods.Items[0], pods.Items[1]
		if a.Name != "a" || a.Namespace != ns || a.Labels["app"] != "a" || len(a.Containers) != 2 || !a.Timestamp.Equal(&measured) || a.Window.Duration != 2500*time.Millisecond {
			t.Errorf("%s: pod a = %+v", contentType, a)
		}
		if u := a.Containers[0].Usage; u.Cpu().MilliValue() != 250 || u.Memory().Value() != 1<<20 {
			t.Errorf("%s: usage of a = %v", contentType, u)
		}
		if u := b.Containers[0].Usage; u.Cpu().MilliValue() != 0 || u.Memory().Value() != 1<<30 {
			t.Errorf("%s: usage of b = %v: it is that of another pod of its name", contentType, u)
		}
		some, err := c.PodMetricses("").List(t.Context(), metav1.ListOptions{LabelSelector: "app=b", FieldSelector: "metadata.namespace=" + ns})
		if err != nil || len(some.Items) != 1 || some.Items[0].Name != "b" {
			t.Errorf("%s: selected pods = %+v, %v", contentType, some, err)
		}
		got, err := c.PodMetricses(ns).Get(t.Context(), "a", metav1.GetOptions{})
		if err != nil || len(got.Containers) != 2 {
			t.Errorf("%s: pod a by itself = %+v, %v", contentType, got, err)
		}
		for _, none := range []string{"unmeasured", "unbound", "absent"} {
			if _, err := c.PodMetricses(ns).Get(t.Context(), none, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("%s: pod %s: %v, want not found", contentType, none, err)
			}
		}
		node, err := c.NodeMetricses().Get(t.Context(), "usage-1", metav1.GetOptions{})
		if err != nil || node.Usage.Cpu().MilliValue() != 1500 || node.Usage.Memory().Value() != 3<<30 {
			t.Errorf("%s: node = %+v, %v", contentType, node, err)
		}
	}
}

func TestUsageOfNodesThatAreAway(t *testing.T) {
	ns := space(t)
	there := &statsv1.Summary{}
	tells(t, "usage-there", there)
	there.Pods = []statsv1.PodStats{on(t, ns, "a", "usage-there", container("c", 1, 1))}
	for name, answer := range map[string]http.HandlerFunc{
		"usage-broken": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"node":`) },
		"usage-failed": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) },
		"usage-gone": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler) // the connection is cut
		},
	} {
		nodeWith(t, name, answer)
		podOn(t, ns, name, name, "c")
		c := usageClient(t, contentJSON).MetricsV1beta1()
		for _, err := range []error{
			second(c.NodeMetricses().Get(t.Context(), name, metav1.GetOptions{})),
			second(c.PodMetricses(ns).Get(t.Context(), name, metav1.GetOptions{})),
		} {
			if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v, want 503 with its name", name, err)
			}
		}
	}
	pods, err := usageClient(t, contentJSON).MetricsV1beta1().PodMetricses(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Name != "a" {
		t.Errorf("pods = %+v, %v: what a node told has to be there though others are away", pods, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestUsageIsDiscovered(t *testing.T) {
	list, err := client(t, contentJSON).Discovery().ServerResourcesForGroupVersion(metricsv1.SchemeGroupVersion.String())
	if err != nil || len(list.APIResources) != 2 || list.APIResources[0].Kind != "NodeMetrics" || !list.APIResources[1].Namespaced {
		t.Errorf("resources = %+v, %v", list, err)
	}
	if resp, body := request(t, "GET", "/apis/metrics.k8s.io/v1beta1/pods?watch=true", ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("watch: %s %s", resp.Status, body)
	}
	if resp, body := request(t, "GET", "/apis/metrics.k8s.io/v1beta1/pods?fieldSelector=spec.color=red", ""); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a selector that is not known: %s %s", resp.Status, body)
	}
}
