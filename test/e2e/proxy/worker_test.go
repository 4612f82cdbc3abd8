package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/petrelrun/petrel/lab/machine"
)

// TestUpServesThroughTheKernel deploys an app on a machine of its own and asks it at the Service's address: nobody
// listens there, and the kernel finds the Wasm pod.
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
	deploy(t, node, module)
	svc, err := client.CoreV1().Services("default").Get(t.Context(), "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("http://%s:%d/", svc.Spec.ClusterIP, svc.Spec.Ports[0].Port)
	eventually(t, "the app at "+url, func() bool {
		out, err := node.play("get " + url)
		return err == nil && strings.HasPrefix(out, "200\n")
	})
	if conn, err := node.dial(t.Context(), "tcp", strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/")); err == nil {
		conn.Close() // from the machine's network, but from none of its control groups
		t.Errorf("somebody listens at %s", url)
	}
	up.stop()
	if out, err := node.play("get " + url); err == nil {
		t.Errorf("the app is served after everything has ended: %s", out)
	}
}

// deploy waits until the app serves.
func deploy(t *testing.T, node *host, module string) {
	t.Helper()
	code, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
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
