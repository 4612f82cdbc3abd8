package worker

import (
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func (n *testNode) http(url string) (int, string) {
	n.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		n.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		n.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestNodeServer(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "task", args("print", "first", "sleep", "2000", "print", "last", "exit", "0")))
	n.ready("a")
	if code, body := n.log("a", "main", "follow=true"); code != http.StatusOK || body != "first\nlast\n" {
		t.Errorf("followed log = %d %q: a follow has to end with its container", code, body)
	}
	n.until("a", "restarted", func(p *corev1.Pod) bool { return restarts(p) >= 1 })
	if code, body := n.log("a", "main", "previous=true&tailLines=1"); code != http.StatusOK || body != "last\n" {
		t.Errorf("previous log = %d %q", code, body)
	}
	for query, want := range map[string]int{"tailLines=x": 400, "follow=maybe": 400, "sinceTime=yesterday": 400} {
		if code, _ := n.log("a", "main", query); code != want {
			t.Errorf("%s: %d, want %d", query, code, want)
		}
	}
	if code, _ := n.log("none", "main", ""); code != http.StatusNotFound {
		t.Errorf("log of an unknown pod: %d", code)
	}
	if code, _ := n.log("a", "none", ""); code != http.StatusNotFound {
		t.Errorf("log of an unknown container: %d", code)
	}
	addr, _ := n.worker.NodeAddr(t.Context())
	if code, body := n.http("http://" + addr.String() + "/metrics"); code != http.StatusOK ||
		!strings.Contains(body, `petrel_worker_pods{phase="Running"} 1`) || !strings.Contains(body, `petrel_worker_runtime_call_seconds_count{code="OK",method="RunPodSandbox"} 1`) {
		t.Errorf("metrics = %d %s", code, body)
	} else {
		for _, series := range []string{
			`kubelet_node_name{node="node-1"} 1`, "kubelet_running_pods 1", `kubelet_running_containers{container_state="`, `kubelet_desired_pods{static=""} 1`,
			"kubelet_active_pods{static=\"true\"} 0", "kubelet_mirror_pods 0", "kubelet_started_pods_total 1", "kubelet_started_pods_errors_total 0",
			`kubelet_started_containers_total{container_type="container"} `, `kubelet_runtime_operations_total{operation_type="run_podsandbox"} 1`,
			`kubelet_runtime_operations_duration_seconds_count{operation_type="start_container"} `, "kubelet_pod_start_duration_seconds_count 1", "process_resident_memory_bytes ", "go_goroutines ",
		} {
			if !strings.Contains(body, "\n"+series) {
				t.Errorf("metrics lack %s", series)
			}
		}
	}
	if code, body := n.http("http://" + addr.String() + "/pods"); code != http.StatusOK || !strings.Contains(body, `"name":"a"`) {
		t.Errorf("pods = %d %s", code, body)
	}
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Host = "evil.example" },
		func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr.String()+"/pods", nil)
		change(req)
		answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("a foreign request got %s", answer.Status)
		}
	}
}
