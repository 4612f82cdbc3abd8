package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// scrape asks a metrics socket.
func scrape(t *testing.T, socket string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	r, err := client.Get("http://metrics/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %s, %v", r.Status, err)
	}
	return string(body)
}

func TestMetrics(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "metrics.sock")
	n := newNode(t, "--metrics-listen", "unix:"+socket)
	image, _ := n.reg.push("x/hello", wasmtest.Serve("hello", "", 0))
	n.pull(image)
	asked, idle := n.run(n.podConfig("default")), n.run(n.podConfig("default"))
	n.launch(asked, containerConfig("web", image))
	n.launch(idle, containerConfig("web", image))
	for range 3 {
		n.wantAnswer(asked, "hello")
	}
	all := scrape(t, socket)
	pod := `{container="web",namespace="default",pod="` + asked.config.Metadata.Name + `"}`
	for _, want := range []string{
		"petrel_wasmrt_requests_total" + pod + " 3\n", "petrel_wasmrt_requests_in_flight" + pod + " 0\n",
		`petrel_wasmrt_containers{namespace="default",state="running"} 2`, `petrel_wasmrt_runner_unreachable{namespace="default"} 0`,
		"petrel_wasmrt_runner_resident_bytes", "petrel_wasmrt_confinement{measure=", "go_goroutines",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	if strings.Contains(all, idle.config.Metadata.Name) {
		t.Error("a pod that was never asked has metrics of its own")
	}
	if t.Failed() {
		for line := range strings.Lines(all) {
			if strings.HasPrefix(line, "petrel_") {
				t.Log(line)
			}
		}
	}
}
