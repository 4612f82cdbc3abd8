package containers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/test/toolchain"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
	"github.com/petrelrun/petrel/worker/cri"
)

const (
	// port is where each pod serves.
	port = 8080
	// answerLimit ends the wait for a pod's first answer.
	answerLimit = 20 * time.Second
)

// side is one runtime with what its pods are made of.
type side struct {
	name      string
	cri       *cri.Client
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	sandbox   func(name string) *runtimev1.PodSandboxConfig
	container *runtimev1.ContainerConfig
	path      string
}

// pod is one that runs.
type pod struct{ sandbox, address string }

// start runs a pod and waits for its first answer.
func (s *side) start(ctx context.Context, name string) (p pod, err error) {
	config := s.sandbox(name)
	if p.sandbox, err = s.cri.RunPodSandbox(ctx, config, ""); err != nil {
		return p, err
	}
	id, err := s.cri.CreateContainer(ctx, p.sandbox, s.container, config)
	if err != nil {
		return p, err
	}
	if err := s.cri.StartContainer(ctx, id); err != nil {
		return p, err
	}
	status, err := s.cri.PodSandboxStatus(ctx, p.sandbox)
	if err != nil {
		return p, err
	}
	p.address = status.GetNetwork().GetIp()
	return p, s.answers(ctx, p)
}

// answers waits until the pod answers a request.
func (s *side) answers(ctx context.Context, p pod) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}}
	url := "http://" + net.JoinHostPort(p.address, fmt.Sprint(port)) + s.path
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			err = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return err
			}
			err = fmt.Errorf("%s: %s", url, resp.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for an answer: %w", err)
		case <-time.After(time.Millisecond):
		}
	}
}

// end removes a pod.
func (s *side) end(ctx context.Context, p pod) error {
	if err := s.cri.StopPodSandbox(ctx, p.sandbox); err != nil {
		return err
	}
	return s.cri.RemovePodSandbox(ctx, p.sandbox)
}

// containers is containerd with runc, whose pods serve files with busybox: the smallest server there is.
func containers(b *testing.B) (*side, *containerdtest.Containerd) {
	b.Helper()
	c := containerdtest.Start(b, containerdtest.Config{})
	image := c.ImportBusybox()
	return &side{
		name: "container", cri: c.CRI, dial: c.Dial, sandbox: c.Sandbox, path: "/etc/passwd",
		container: containerdtest.Container("web", image, "/bin/busybox", "httpd", "-f", "-p", fmt.Sprint(port), "-h", "/"),
	}, c
}

// wasm is petrel-wasmrt, whose pods are of one guest in Go, with net/http. Its root is answered.
func wasm(b *testing.B) (s *side, root string) {
	b.Helper()
	tree, err := toolchain.Find()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := tree.Binaries(b.Context()); err != nil {
		b.Fatal(err)
	}
	guest, err := tree.Guest(b.Context(), "plain", true)
	if err != nil {
		b.Fatal(err)
	}
	root = b.TempDir()
	socket := filepath.Join(root, "cri.sock")
	cmd := exec.Command(filepath.Join(tree.Bin(), "petrel-wasmrt"), "serve", "--root", root, "--socket", socket,
		"--stop-runners-on-exit", "--trust-annotations", "--pod-cidr", "127.66.0.0/16", "--log-level", "warn")
	cmd.Stderr = b.Output()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	client, err := cri.New(cri.Config{Endpoint: socket})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(b.Context(), answerLimit)
	defer cancel()
	if err := client.WaitReady(ctx); err != nil {
		b.Fatal(err)
	}
	image := &runtimev1.ImageSpec{Image: "bench.test/plain:v1", Annotations: map[string]string{"petrel.run/module-file": guest}}
	if _, err := client.PullImage(ctx, image, nil, nil); err != nil {
		b.Fatal(err)
	}
	return &side{
		name: "wasm", cri: client, dial: new(net.Dialer).DialContext, path: "/", sandbox: sandboxes(root),
		container: &runtimev1.ContainerConfig{
			Metadata: &runtimev1.ContainerMetadata{Name: "web"}, Image: &runtimev1.ImageSpec{Image: image.Image}, LogPath: "web.log",
			Annotations: map[string]string{"io.kubernetes.container.ports": fmt.Sprintf(`[{"containerPort":%d}]`, port)},
		},
	}, root
}

// sandboxes makes configurations of Wasm pods, each of a UID of its own.
func sandboxes(root string) func(name string) *runtimev1.PodSandboxConfig {
	return func(name string) *runtimev1.PodSandboxConfig {
		return &runtimev1.PodSandboxConfig{
			Metadata:     &runtimev1.PodSandboxMetadata{Name: name, Namespace: "test", Uid: name},
			LogDirectory: filepath.Join(root, "podlogs", name),
		}
	}
}
