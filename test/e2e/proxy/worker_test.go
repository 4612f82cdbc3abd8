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

// TestUpServesThroughTheKernel deploys an app on a machine of its own, asks it at the Service's address, and replaces it
// under load.
func TestUpServesThroughTheKernel(t *testing.T) {
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
	node := boot(t, network, 1)
	up := node.start("up", petrel, []string{"PATH=/usr/bin:/bin"}, "up", "--data-dir", filepath.Join(node.dir, "data"), "--log-file", "-",
		"--listen", apiAt, "--proxy", "ebpf")
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://" + apiAt, Dial: node.dial, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node", func() bool {
		nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		return err == nil && len(nodes.Items) == 1
	})
	code, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	deploy(t, node, code)
	svc, err := client.CoreV1().Services("default").Get(t.Context(), "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("http://%s:%d/", svc.Spec.ClusterIP, svc.Spec.Ports[0].Port)
	eventually(t, "the app at "+url, func() bool {
		out, err := node.play("get " + url)
		return err == nil && strings.HasPrefix(out, "200\n")
	})
	updateUnderLoad(t, node, url, toolchain.WithCustomSection(code, "version", []byte("2")))
	up.stop()
	if out, err := node.play("get " + url); err == nil {
		t.Errorf("the app is served after everything has ended: %s", out)
	}
}

// updateUnderLoad replaces the app's pods while clients ask them at the Service's address.
func updateUnderLoad(t *testing.T, node *host, url string, code []byte) {
	t.Helper()
	const settle = 500 * time.Millisecond // of load before and after
	var out bytes.Buffer
	cmd := &exec.Cmd{Path: node.self, Args: []string{node.self}, Env: []string{roleVariable + "=load " + url}, Stdout: &out, Stderr: &out}
	stop, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(cmd, nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(settle)
	deploy(t, node, code)
	time.Sleep(settle)
	stop.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	var asked, failed int
	if _, err := fmt.Sscan(out.String(), &asked, &failed); err != nil || asked < 100 || failed > 0 {
		t.Errorf("requests and failures during the update: %s", out.String())
	}
}

// deploy waits until the app serves.
func deploy(t *testing.T, node *host, code []byte) {
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
