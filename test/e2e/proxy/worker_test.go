package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/petrelrun/petrel/lab/machine"
	"github.com/petrelrun/petrel/test/toolchain"
)

// app is one that `petrel up` serves through the kernel, on a machine of its own.
type app struct {
	node *host
	up   *process
	url  string // of its Service's address
	code []byte
}

func startApp(t testing.TB) *app {
	t.Helper()
	network, err := machine.NewSwitch(1)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	module, err := tree.Example(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{node: boot(t, network, 1)}
	if a.code, err = os.ReadFile(module); err != nil {
		t.Fatal(err)
	}
	a.up = a.node.start("up", petrel, []string{"PATH=/usr/bin:/bin"}, "up", "--data-dir", filepath.Join(a.node.dir, "data"), "--log-file", "-",
		"--listen", apiAt, "--proxy", "ebpf")
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://" + apiAt, Dial: a.node.dial, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node", func() bool {
		nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		return err == nil && len(nodes.Items) == 1
	})
	deploy(t, a.node, a.code)
	svc, err := client.CoreV1().Services("default").Get(t.Context(), "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.url = fmt.Sprintf("http://%s:%d/", svc.Spec.ClusterIP, svc.Spec.Ports[0].Port)
	eventually(t, "the app at "+a.url, func() bool {
		out, err := a.node.play("get " + a.url)
		return err == nil && strings.HasPrefix(out, "200\n")
	})
	return a
}

// TestUpServesThroughTheKernel deploys an app, asks it at the Service's address, and replaces it under load.
func TestUpServesThroughTheKernel(t *testing.T) {
	a := startApp(t)
	asked, failed, said := a.updateUnderLoad(t, 1)
	if asked < 100 || failed > 0 {
		t.Errorf("requests and failures during the update: %s", said)
	}
	a.up.stop()
	if out, err := a.node.play("get " + a.url); err == nil {
		t.Errorf("the app is served after everything has ended: %s", out)
	}
}

// BenchmarkRollingUpdate replaces an app's pods again and again under 500 requests a second, each on a connection of its
// own.
func BenchmarkRollingUpdate(b *testing.B) {
	a := startApp(b)
	var asked, failed int
	version := 0
	for b.Loop() {
		version++
		n, bad, said := a.updateUnderLoad(b, version)
		if bad > 0 {
			b.Log(said)
		}
		asked, failed = asked+n, failed+bad
	}
	b.ReportMetric(float64(asked), "requests")
	b.ReportMetric(float64(failed), "failed")
}

// updateUnderLoad replaces the app's pods by those of another version while clients ask them at the Service's address.
func (a *app) updateUnderLoad(t testing.TB, version int) (asked, failed int, said string) {
	t.Helper()
	const settle = 500 * time.Millisecond // of load before and after
	var out bytes.Buffer
	cmd := &exec.Cmd{Path: a.node.self, Args: []string{a.node.self}, Env: []string{roleVariable + "=load " + a.url}, Stdout: &out, Stderr: &out}
	stop, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.node.Start(cmd, nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(settle)
	deploy(t, a.node, toolchain.WithCustomSection(a.code, "version", fmt.Append(nil, version)))
	time.Sleep(settle)
	stop.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(out.String(), &asked, &failed); err != nil {
		t.Fatalf("the load said %q", out.String())
	}
	return asked, failed, out.String()
}

// deploy waits until the app serves.
func deploy(t testing.TB, node *host, code []byte) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: node.dial}}
	last := "nothing"
	defer func() {
		if t.Failed() {
			t.Log("the deployment answered", last)
		}
	}()
	eventually(t, "the deployment", func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+apiAt+"/v1/apps/hello", bytes.NewReader(code))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/wasm")
		answer, err := client.Do(request)
		if err != nil {
			last = err.Error()
			return false
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		last = answer.Status + " " + string(body)
		return answer.StatusCode < http.StatusMultipleChoices
	})
}
