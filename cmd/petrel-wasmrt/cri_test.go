package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// scene is a node with two pods: one with a running, a created and an exited container, and one that was stopped.
type scene struct {
	*node
	image                    string
	pod, stopped             *pod
	running, created, exited string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{node: newNode(t)}
	s.image, _ = s.reg.push("x/server", wasmtest.Serve("hello", "line\n", 0))
	task, _ := s.reg.push("x/task", wasmtest.Print("", "", 3))
	s.pull(s.image)
	s.pull(task)
	s.pod, s.stopped = s.node.run(s.podConfig("default")), s.node.run(s.podConfig("default"))
	s.running = s.launch(s.pod, containerConfig("running", s.image))
	s.created = s.create(s.pod, containerConfig("created", s.image))
	s.exited = s.launch(s.pod, containerConfig("exited", task))
	s.node.exited(s.exited)
	if _, err := s.rt.StopPodSandbox(s.ctx(), &runtimev1.StopPodSandboxRequest{PodSandboxId: s.stopped.id}); err != nil {
		t.Fatal(err)
	}
	return s
}

const unknown = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestCodes is what each call answers to what it cannot do.
func TestCodes(t *testing.T) {
	s := newScene(t)
	sandbox := func(change func(*runtimev1.PodSandboxConfig)) *runtimev1.RunPodSandboxRequest {
		config := s.podConfig("default")
		change(config)
		return &runtimev1.RunPodSandboxRequest{Config: config}
	}
	container := func(change func(*runtimev1.ContainerConfig)) *runtimev1.CreateContainerRequest {
		config := containerConfig("new", s.image)
		change(config)
		return &runtimev1.CreateContainerRequest{PodSandboxId: s.pod.id, Config: config}
	}
	limit := &runtimev1.LinuxContainerResources{MemoryLimitInBytes: 1 << 20}
	tests := []struct {
		name string
		call func(ctx context.Context) error
		want codes.Code
		says string
	}{
		{"run: no metadata", call(s.rt.RunPodSandbox, &runtimev1.RunPodSandboxRequest{Config: &runtimev1.PodSandboxConfig{}}), codes.InvalidArgument, "metadata"},
		{"run: same name", call(s.rt.RunPodSandbox, &runtimev1.RunPodSandboxRequest{Config: s.pod.config}), codes.AlreadyExists, s.pod.id},
		{"run: name of a stopped one", call(s.rt.RunPodSandbox, &runtimev1.RunPodSandboxRequest{Config: s.stopped.config}), codes.AlreadyExists, s.stopped.id},
		{"run: address taken", call(s.rt.RunPodSandbox, sandbox(func(c *runtimev1.PodSandboxConfig) { c.Annotations["petrel.run/pod-ip"] = s.pod.ip })), codes.FailedPrecondition, s.pod.id},
		{"run: address of the host", call(s.rt.RunPodSandbox, sandbox(func(c *runtimev1.PodSandboxConfig) { c.Annotations["petrel.run/pod-ip"] = "127.0.0.1" })), codes.PermissionDenied, "pod CIDR"},
		{"run: no address", call(s.rt.RunPodSandbox, sandbox(func(c *runtimev1.PodSandboxConfig) { c.Annotations["petrel.run/pod-ip"] = "here" })), codes.InvalidArgument, "here"},
		{"run: handler", call(s.rt.RunPodSandbox, &runtimev1.RunPodSandboxRequest{Config: s.podConfig("default"), RuntimeHandler: "runc"}), codes.InvalidArgument, "wasm"},
		{"run: host network", call(s.rt.RunPodSandbox, sandbox(func(c *runtimev1.PodSandboxConfig) {
			c.Linux = &runtimev1.LinuxPodSandboxConfig{SecurityContext: &runtimev1.LinuxSandboxSecurityContext{NamespaceOptions: &runtimev1.NamespaceOption{Network: runtimev1.NamespaceMode_NODE}}}
		})), codes.InvalidArgument, "network"},
		{"run: wall time", call(s.rt.RunPodSandbox, sandbox(func(c *runtimev1.PodSandboxConfig) { c.Annotations["petrel.run/wall-time"] = "soon" })), codes.InvalidArgument, "soon"},
		{"run: concurrency", call(s.rt.RunPodSandbox, sandbox(func(c *runtimev1.PodSandboxConfig) { c.Annotations["petrel.run/concurrency"] = "0" })), codes.InvalidArgument, "concurrency"},
		{"stop: unknown sandbox", call(s.rt.StopPodSandbox, &runtimev1.StopPodSandboxRequest{PodSandboxId: unknown}), codes.OK, ""},
		{"stop: stopped sandbox", call(s.rt.StopPodSandbox, &runtimev1.StopPodSandboxRequest{PodSandboxId: s.stopped.id}), codes.OK, ""},
		{"remove: unknown sandbox", call(s.rt.RemovePodSandbox, &runtimev1.RemovePodSandboxRequest{PodSandboxId: unknown}), codes.OK, ""},
		{"status: unknown sandbox", call(s.rt.PodSandboxStatus, &runtimev1.PodSandboxStatusRequest{PodSandboxId: unknown}), codes.NotFound, unknown},
		{"status: no sandbox", call(s.rt.PodSandboxStatus, &runtimev1.PodSandboxStatusRequest{}), codes.NotFound, ""},
		{"stats: unknown sandbox", call(s.rt.PodSandboxStats, &runtimev1.PodSandboxStatsRequest{PodSandboxId: unknown}), codes.NotFound, ""},
		{"resources: unknown sandbox", call(s.rt.UpdatePodSandboxResources, &runtimev1.UpdatePodSandboxResourcesRequest{PodSandboxId: unknown}), codes.NotFound, ""},

		{"create: unknown sandbox", call(s.rt.CreateContainer, &runtimev1.CreateContainerRequest{PodSandboxId: unknown, Config: containerConfig("x", s.image)}), codes.NotFound, "sandbox"},
		{"create: stopped sandbox", call(s.rt.CreateContainer, &runtimev1.CreateContainerRequest{PodSandboxId: s.stopped.id, Config: containerConfig("x", s.image)}), codes.FailedPrecondition, "not ready"},
		{"create: no config", call(s.rt.CreateContainer, &runtimev1.CreateContainerRequest{PodSandboxId: s.pod.id}), codes.InvalidArgument, "metadata"},
		{"create: same name", call(s.rt.CreateContainer, &runtimev1.CreateContainerRequest{PodSandboxId: s.pod.id, Config: containerConfig("created", s.image)}), codes.AlreadyExists, s.created},
		{"create: image not pulled", call(s.rt.CreateContainer, &runtimev1.CreateContainerRequest{PodSandboxId: s.pod.id, Config: containerConfig("x", "registry.test/other:v1")}), codes.NotFound, "image"},
		{"create: terminal", call(s.rt.CreateContainer, container(func(c *runtimev1.ContainerConfig) { c.Tty = true })), codes.InvalidArgument, "terminal"},
		{"create: device", call(s.rt.CreateContainer, container(func(c *runtimev1.ContainerConfig) { c.Devices = []*runtimev1.Device{{}} })), codes.InvalidArgument, "devices"},
		{"create: relative mount", call(s.rt.CreateContainer, container(func(c *runtimev1.ContainerConfig) { c.Mounts = []*runtimev1.Mount{{ContainerPath: "x", HostPath: "/"}} })), codes.InvalidArgument, "absolute"},
		{"create: variable without name", call(s.rt.CreateContainer, container(func(c *runtimev1.ContainerConfig) { c.Envs = []*runtimev1.KeyValue{{Value: []byte("x")}} })), codes.InvalidArgument, "KEY=value"},
		{"start: unknown", call(s.rt.StartContainer, &runtimev1.StartContainerRequest{ContainerId: unknown}), codes.NotFound, "container"},
		{"start: running", call(s.rt.StartContainer, &runtimev1.StartContainerRequest{ContainerId: s.running}), codes.FailedPrecondition, "running"},
		{"start: exited", call(s.rt.StartContainer, &runtimev1.StartContainerRequest{ContainerId: s.exited}), codes.FailedPrecondition, "exited"},
		{"start: address in use", call(s.rt.StartContainer, &runtimev1.StartContainerRequest{ContainerId: s.created}), codes.Unknown, "port is taken"},
		{"stop: unknown container", call(s.rt.StopContainer, &runtimev1.StopContainerRequest{ContainerId: unknown}), codes.OK, ""},
		{"stop: exited container", call(s.rt.StopContainer, &runtimev1.StopContainerRequest{ContainerId: s.exited}), codes.OK, ""},
		{"remove: unknown container", call(s.rt.RemoveContainer, &runtimev1.RemoveContainerRequest{ContainerId: unknown}), codes.OK, ""},
		{"status: unknown container", call(s.rt.ContainerStatus, &runtimev1.ContainerStatusRequest{ContainerId: unknown}), codes.NotFound, ""},
		{"stats: unknown container", call(s.rt.ContainerStats, &runtimev1.ContainerStatsRequest{ContainerId: unknown}), codes.NotFound, ""},
		{"update: unknown container", call(s.rt.UpdateContainerResources, &runtimev1.UpdateContainerResourcesRequest{ContainerId: unknown}), codes.NotFound, ""},
		{"update: exited container", call(s.rt.UpdateContainerResources, &runtimev1.UpdateContainerResourcesRequest{ContainerId: s.exited, Linux: limit}), codes.FailedPrecondition, "exited"},
		{"update: nothing", call(s.rt.UpdateContainerResources, &runtimev1.UpdateContainerResourcesRequest{ContainerId: s.running, Linux: &runtimev1.LinuxContainerResources{CpuShares: 5}}), codes.OK, ""},
		{"reopen: unknown container", call(s.rt.ReopenContainerLog, &runtimev1.ReopenContainerLogRequest{ContainerId: unknown}), codes.NotFound, ""},
		{"reopen: exited container", call(s.rt.ReopenContainerLog, &runtimev1.ReopenContainerLogRequest{ContainerId: s.exited}), codes.FailedPrecondition, "not running"},
		{"cidr: bad", call(s.rt.UpdateRuntimeConfig, cidr("10.0.0.0")), codes.InvalidArgument, "10.0.0.0"},
		{"cidr: no room", call(s.rt.UpdateRuntimeConfig, cidr("10.0.0.0/31")), codes.InvalidArgument, "no room"},
		{"cidr: none", call(s.rt.UpdateRuntimeConfig, cidr("")), codes.OK, ""},

		{"exec: another program", call(s.rt.Exec, &runtimev1.ExecRequest{ContainerId: s.running, Cmd: []string{"sh"}, Stdout: true}), codes.InvalidArgument, "no shell"},
		{"exec: terminal", call(s.rt.Exec, &runtimev1.ExecRequest{ContainerId: s.running, Cmd: []string{"sh"}, Stdout: true, Tty: true}), codes.InvalidArgument, "terminal"},
		{"exec: no command", call(s.rt.Exec, &runtimev1.ExecRequest{ContainerId: s.running, Stdout: true}), codes.InvalidArgument, "command"},
		{"exec: unknown container", call(s.rt.Exec, &runtimev1.ExecRequest{ContainerId: unknown, Cmd: []string{"x"}, Stdout: true}), codes.NotFound, ""},
		{"exec: exited container", call(s.rt.Exec, &runtimev1.ExecRequest{ContainerId: s.exited, Cmd: []string{"x"}, Stdout: true}), codes.FailedPrecondition, "exited"},
		{"exec sync: another program", call(s.rt.ExecSync, &runtimev1.ExecSyncRequest{ContainerId: s.running, Cmd: []string{"sh"}}), codes.InvalidArgument, "no shell"},
		{"exec sync: created container", call(s.rt.ExecSync, &runtimev1.ExecSyncRequest{ContainerId: s.created, Cmd: []string{"x"}}), codes.FailedPrecondition, ""},
		{"attach: terminal", call(s.rt.Attach, &runtimev1.AttachRequest{ContainerId: s.running, Stdout: true, Tty: true}), codes.InvalidArgument, "terminal"},
		{"attach: no stdin", call(s.rt.Attach, &runtimev1.AttachRequest{ContainerId: s.running, Stdin: true}), codes.FailedPrecondition, "standard input"},
		{"attach: unknown container", call(s.rt.Attach, &runtimev1.AttachRequest{ContainerId: unknown, Stdout: true}), codes.NotFound, ""},
		{"port forward: unknown sandbox", call(s.rt.PortForward, &runtimev1.PortForwardRequest{PodSandboxId: unknown}), codes.NotFound, ""},
		{"port forward: stopped sandbox", call(s.rt.PortForward, &runtimev1.PortForwardRequest{PodSandboxId: s.stopped.id}), codes.FailedPrecondition, "not ready"},
		{"checkpoint", call(s.rt.CheckpointContainer, &runtimev1.CheckpointContainerRequest{ContainerId: s.running}), codes.Unimplemented, "not checkpointed"},

		{"image: no name to pull", call(s.img.PullImage, &runtimev1.PullImageRequest{}), codes.InvalidArgument, "name"},
		{"image: bad name", call(s.img.PullImage, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: "A B"}}), codes.InvalidArgument, "reference"},
		{"image: not in the registry", call(s.img.PullImage, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: "registry.test/none:v1"}}), codes.NotFound, ""},
		{"image: registry away", call(s.img.PullImage, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: "127.0.0.1:9/none:v1"}}), codes.Unknown, "refused"},
		{"image: status without a name", call(s.img.ImageStatus, &runtimev1.ImageStatusRequest{}), codes.InvalidArgument, ""},
		{"image: status of none", call(s.img.ImageStatus, &runtimev1.ImageStatusRequest{Image: &runtimev1.ImageSpec{Image: "registry.test/none:v1"}}), codes.OK, ""},
		{"image: remove without a name", call(s.img.RemoveImage, &runtimev1.RemoveImageRequest{}), codes.InvalidArgument, ""},
		{"image: remove none", call(s.img.RemoveImage, &runtimev1.RemoveImageRequest{Image: &runtimev1.ImageSpec{Image: "registry.test/none:v1"}}), codes.OK, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call(s.ctx())
			if got := status.Code(err); got != tt.want {
				t.Errorf("code %s, want %s: %v", got, tt.want, err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not tell %q", err, tt.says)
			}
		})
	}
	// Nothing of what was refused is there.
	if got := len(s.list(nil)); got != 3 {
		t.Errorf("%d containers", got)
	}
	if s := s.status(s.created); s.State != runtimev1.ContainerState_CONTAINER_EXITED || s.ExitCode != 128 || s.Reason != "StartError" || !strings.Contains(s.Message, "port is taken") {
		t.Errorf("what could not be started: %+v", s)
	}
}

// call makes a test of a unary method and its request.
func call[Q, A any, O any](f func(context.Context, *Q, ...O) (*A, error), q *Q) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := f(ctx, q)
		return err
	}
}

func cidr(s string) *runtimev1.UpdateRuntimeConfigRequest {
	return &runtimev1.UpdateRuntimeConfigRequest{RuntimeConfig: &runtimev1.RuntimeConfig{NetworkConfig: &runtimev1.NetworkConfig{PodCidr: s}}}
}

func (s *scene) list(f *runtimev1.ContainerFilter) []string {
	s.t.Helper()
	r, err := s.rt.ListContainers(s.ctx(), &runtimev1.ListContainersRequest{Filter: f})
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []string
	for _, c := range r.Containers {
		ids = append(ids, c.Id)
	}
	return ids
}

// TestAddresses: sandboxes that bring no address get one of the pod CIDR, which survives a restart, and give it back.
func TestAddresses(t *testing.T) {
	n := newNode(t)
	if _, err := n.rt.UpdateRuntimeConfig(n.ctx(), cidr("127.42.250.0/29")); err != nil {
		t.Fatal(err)
	}
	config := func() *runtimev1.PodSandboxConfig {
		c := n.podConfig("default")
		delete(c.Annotations, "petrel.run/pod-ip")
		return c
	}
	seen := map[string]string{}
	for i := range 6 { // eight, without the network's and the broadcast's
		p := n.run(config())
		r, err := n.rt.PodSandboxStatus(n.ctx(), &runtimev1.PodSandboxStatusRequest{PodSandboxId: p.id})
		if err != nil {
			t.Fatal(err)
		}
		ip := r.Status.Network.Ip
		if seen[ip] != "" || !strings.HasPrefix(ip, "127.42.250.") {
			t.Fatalf("address %s, given are %v", ip, seen)
		}
		seen[ip] = p.id
		if i == 2 {
			n.kill()
			n.start()
		}
	}
	_, err := n.rt.RunPodSandbox(n.ctx(), &runtimev1.RunPodSandboxRequest{Config: config()})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a seventh: %v", err)
	}
	if _, err := n.rt.StopPodSandbox(n.ctx(), &runtimev1.StopPodSandboxRequest{PodSandboxId: seen["127.42.250.3"]}); err != nil {
		t.Fatal(err)
	}
	p := n.run(config())
	r, err := n.rt.PodSandboxStatus(n.ctx(), &runtimev1.PodSandboxStatusRequest{PodSandboxId: p.id})
	if err != nil || r.Status.Network.Ip != "127.42.250.3" {
		t.Errorf("the address given back: %v, %v", r, err)
	}
	if r, err = n.rt.PodSandboxStatus(n.ctx(), &runtimev1.PodSandboxStatusRequest{PodSandboxId: seen["127.42.250.3"]}); err != nil || r.Status.Network.Ip != "" {
		t.Errorf("a stopped sandbox tells the address %v, %v", r, err)
	}
}

func TestLogIsReopened(t *testing.T) {
	s := newScene(t)
	s.wantAnswer(s.pod, "hello")
	path := filepath.Join(s.pod.config.LogDirectory, "running", "0.log")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.rt.ReopenContainerLog(s.ctx(), &runtimev1.ReopenContainerLogRequest{ContainerId: s.running}); err != nil {
		t.Fatal(err)
	}
	s.wantAnswer(s.pod, "hello")
	if got := s.logOf(s.pod, "running"); got != "stdout F line\n" {
		t.Errorf("new log %q", got)
	}
}

func TestImages(t *testing.T) {
	n := newNode(t)
	tag, digest := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	id := n.pull(tag)
	for _, ref := range []string{tag, digest, id, strings.TrimPrefix(id, "sha256:")[:12]} {
		r, err := n.img.ImageStatus(n.ctx(), &runtimev1.ImageStatusRequest{Image: &runtimev1.ImageSpec{Image: ref}, Verbose: true})
		if err != nil || r.Image.GetId() != id || r.Image.Size == 0 || fmt.Sprint(r.Image.RepoTags, r.Image.RepoDigests) != fmt.Sprintf("[%s] [%s]", tag, digest) {
			t.Errorf("status of %s: %v, %v", ref, r, err)
			continue
		}
		var info struct{ Kind, Module string }
		if err := json.Unmarshal([]byte(r.Info["petrel"]), &info); err != nil || info.Kind != "reactor" || info.Module == "" {
			t.Errorf("info %+v, %v", info, err)
		}
		// A container may name its image in each of these ways.
		p := n.run(n.podConfig("default"))
		n.launch(p, containerConfig("web", ref))
		n.wantAnswer(p, "hello")
	}
	if r, err := n.img.ListImages(n.ctx(), &runtimev1.ListImagesRequest{Filter: &runtimev1.ImageFilter{Image: &runtimev1.ImageSpec{Image: "registry.test/other:v1"}}}); err != nil || len(r.Images) != 0 {
		t.Errorf("list of another: %v, %v", r, err)
	}
	cached := cacheEntries(t, n.root)
	if _, err := n.img.RemoveImage(n.ctx(), &runtimev1.RemoveImageRequest{Image: &runtimev1.ImageSpec{Image: digest}}); err != nil {
		t.Fatal(err)
	}
	if got := cacheEntries(t, n.root); got != cached-1 {
		t.Errorf("%d modules' compiled code is kept, before %d", got, cached)
	}
	if r, err := n.img.ListImages(n.ctx(), &runtimev1.ListImagesRequest{}); err != nil || len(r.Images) != 0 {
		t.Errorf("after the removal: %v, %v", r, err)
	}
}

// TestEventsTellThePod: each step of a container is told, with the state of its pod.
func TestEventsTellThePod(t *testing.T) {
	n := newNode(t)
	image, _ := n.reg.push("x/task", wasmtest.Print("", "", 5))
	n.pull(image)
	ctx, cancel := context.WithCancel(n.ctx())
	defer cancel()
	stream, err := n.rt.GetContainerEvents(ctx, &runtimev1.GetEventsRequest{})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := n.run(n.podConfig("default"))
	id := n.launch(p, containerConfig("main", image))
	n.exited(id)
	if _, err := n.rt.RemovePodSandbox(n.ctx(), &runtimev1.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < 8 {
		e, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		who := "pod"
		if e.ContainerId == id {
			who = "container"
			if kind := e.ContainerEventType; kind == runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT {
				if len(e.ContainersStatuses) != 1 || e.ContainersStatuses[0].ExitCode != 5 || e.PodSandboxStatus.Metadata.Uid != p.config.Metadata.Uid {
					t.Errorf("event %v", e)
				}
			}
		}
		got = append(got, who+" "+strings.TrimSuffix(strings.TrimPrefix(e.ContainerEventType.String(), "CONTAINER_"), "_EVENT"))
	}
	want := "pod CREATED, pod STARTED, container CREATED, container STARTED, container STOPPED, pod STOPPED, container DELETED, pod DELETED"
	if strings.Join(got, ", ") != want {
		t.Errorf("events %s\nwant %s", strings.Join(got, ", "), want)
	}
}

func TestGracefulStop(t *testing.T) {
	n := newNode(t)
	image, _ := n.reg.push("x/slow", wasmtest.Serve("late", "begun\n", 400*time.Millisecond))
	n.pull(image)
	p := n.run(n.podConfig("default"))
	id := n.launch(p, containerConfig("web", image))
	answered := make(chan int, 1)
	go func() {
		code, _, _ := ask(p, "/")
		answered <- code
	}()
	eventually(t, "the request's begin", func() bool {
		b, err := os.ReadFile(filepath.Join(p.config.LogDirectory, "web", "0.log"))
		return err == nil && strings.Contains(string(b), "begun")
	})
	if _, err := n.rt.StopContainer(n.ctx(), &runtimev1.StopContainerRequest{ContainerId: id, Timeout: 20}); err != nil {
		t.Fatal(err)
	}
	if code := <-answered; code != http.StatusOK {
		t.Errorf("the request that ran was answered %d", code)
	}
	if s := n.status(id); s.ExitCode != 0 || s.Reason != "Completed" {
		t.Errorf("stopped: %+v", s)
	}
	if _, _, err := ask(p, "/"); err == nil {
		t.Error("it answers after the stop")
	}
}

// cacheEntries counts the modules whose compiled code is on disk.
func cacheEntries(t *testing.T, root string) int {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(root, "cache", "*", "sha256*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
