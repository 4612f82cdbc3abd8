package containerd_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// each runs a test beside itself with Debian's containerd and with the current one.
func each(t *testing.T, test func(t *testing.T, c *containerdtest.Containerd)) {
	t.Run("installed", func(t *testing.T) {
		t.Parallel()
		test(t, containerdtest.Start(t, containerdtest.Config{}))
	})
	t.Run("2.x", func(t *testing.T) {
		t.Parallel()
		test(t, containerdtest.Start(t, containerdtest.Config{Program: containerdtest.V2(t)}))
	})
}

// TestRunsPods has a pod of two containers answer at its own address, and its log read.
func TestRunsPods(t *testing.T) {
	each(t, func(t *testing.T, c *containerdtest.Containerd) {
		image := c.ImportBusybox()
		sandbox := c.Sandbox("web")
		id, containers := c.Run(sandbox,
			containerdtest.Container("serve", image, "/bin/sh", "-c", "mkdir /www && echo hello > /www/index.html && exec httpd -f -p 8080 -h /www"),
			containerdtest.Container("say", image, "/bin/sh", "-c", "echo said; exec sleep 3600"))
		status, err := c.CRI.PodSandboxStatus(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if body := get(t, c, "http://"+status.GetNetwork().GetIp()+":8080/"); body != "hello\n" {
			t.Errorf("the pod answers %q", body)
		}
		eventually(t, "the log", func() bool {
			raw, _ := os.ReadFile(filepath.Join(sandbox.LogDirectory, "say.log"))
			return strings.HasSuffix(string(raw), " stdout F said\n")
		})
		if got, _, err := c.CRI.ContainerStatus(t.Context(), containers[0], false); err != nil || got.GetState() != runtimev1.ContainerState_CONTAINER_RUNNING {
			t.Errorf("container is %v: %v", got.GetState(), err)
		}
	})
}

// TestDaemonDies kills it: containers go on, and it is there again.
func TestDaemonDies(t *testing.T) {
	each(t, func(t *testing.T, c *containerdtest.Containerd) {
		image := c.ImportBusybox()
		_, containers := c.Run(c.Sandbox("goes-on"), containerdtest.Container("sleep", image, "/bin/sleep", "3600"))
		before, old, err := c.CRI.ContainerStatus(t.Context(), containers[0], true)
		if err != nil {
			t.Fatal(err)
		}
		pid := c.PID()
		c.Kill()
		eventually(t, "another process", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return c.CRI.WaitReady(ctx) == nil && c.PID() != pid
		})
		after, now, err := c.CRI.ContainerStatus(t.Context(), containers[0], true)
		if err != nil || after.GetState() != runtimev1.ContainerState_CONTAINER_RUNNING || after.GetStartedAt() != before.GetStartedAt() {
			t.Errorf("the container is %v, started %d, not %d: %v", after.GetState(), after.GetStartedAt(), before.GetStartedAt(), err)
		}
		if len(old) == 0 || len(now) == 0 {
			t.Error("no verbose status")
		}
	})
}

func get(t *testing.T, c *containerdtest.Containerd, url string) (body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: c.Dial, DisableKeepAlives: true}}
	eventually(t, url, func() bool {
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		raw, err := io.ReadAll(answer.Body)
		body = string(raw)
		return err == nil && answer.StatusCode == http.StatusOK
	})
	return body
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
