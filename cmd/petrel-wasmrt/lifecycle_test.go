package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/test/dockerregistry"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/cri/critest"
)

// TestConformance runs the worker's suite for container runtimes.
func TestConformance(t *testing.T) {
	n := newNode(t, "--trust-annotations") // the suite's pods bring addresses
	task, _ := n.reg.push("suite/task", taskWasm)
	server, _ := n.reg.push("suite/server", helloWasm)
	client, err := cri.New(cri.Config{Endpoint: n.socket})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	target := critest.Target{Client: client, Endpoint: n.socket, TaskImage: task, ServerImage: server, PodIPs: netip.MustParsePrefix("127.47.0.0/16")}
	if _, err := exec.LookPath("docker-registry"); err == nil || os.Geteuid() == 0 {
		target.Registry = registries(t)
	}
	critest.Run(t, target)
}

// registries are real ones, of this machine and so without TLS, one of them for a login.
func registries(t *testing.T) *critest.Registry {
	t.Helper()
	open, closed := dockerregistry.Start(t, dockerregistry.Options{}), dockerregistry.Start(t, dockerregistry.Options{Auth: true})
	module := dockerregistry.Module(t, wasmtest.Serve("from a registry", "", 0))
	digest := open.Push(t, "suite/image:1", module)
	open.Push(t, "suite/same:1", module)
	open.Push(t, "suite/image:latest", module)
	open.Push(t, "suite/other:1", dockerregistry.Module(t, wasmtest.Serve("another", "", 0)))
	closed.Push(t, "suite/private:1", module)
	return &critest.Registry{Image: open.Host + "/suite/image:1", Same: open.Host + "/suite/same:1", Other: open.Host + "/suite/other:1", Digest: digest, Private: closed.Host + "/suite/private:1",
		Auth: &runtimev1.AuthConfig{Username: dockerregistry.User, Password: dockerregistry.Password}}
}

// TestDeploy is the way of an application: pulled by digest, compiled once, started, asked, replicated, stopped.
func TestDeploy(t *testing.T) {
	n := newNodeAt(t, t.TempDir()) // with nothing compiled
	_, image := n.reg.push("default/hello", helloWasm)
	begin := time.Now()
	id := n.pull(image)
	pulled := time.Since(begin)
	if again := n.pull(image); again != id || !strings.HasSuffix(image, id) {
		t.Errorf("pulled as %s and %s", id, again)
	}

	first := n.run(n.podConfig("default"))
	begin = time.Now()
	c := n.launch(first, containerConfig("web", image))
	launched := time.Since(begin)
	n.wantAnswer(first, "Hello from Petrel")
	i := n.info(c)
	if i.Kind != "reactor" || i.CompileCached || i.CompileMicros <= 0 || i.ColdStartMicros <= 0 || !strings.HasSuffix(image, i.ImageDigest) || !strings.HasPrefix(i.Digest, "sha256:") {
		t.Errorf("info %+v", i)
	}

	second := n.run(n.podConfig("default"))
	begin = time.Now()
	replica := n.launch(second, containerConfig("web", image))
	replicated := time.Since(begin)
	n.wantAnswer(second, "Hello from Petrel")
	if j := n.info(replica); !j.CompileCached || j.ColdStartMicros != i.ColdStartMicros {
		t.Errorf("info of the replica %+v", j)
	}

	other := n.run(n.podConfig("other"))
	begin = time.Now()
	n.launch(other, containerConfig("web", image))
	elsewhere := time.Since(begin)
	t.Logf("pull and compile %v (compile %d µs), first container %v, replica %v, in another namespace %v, cold start %d µs",
		pulled, i.CompileMicros, launched, replicated, elsewhere, i.ColdStartMicros)

	s := n.status(c)
	if s.ImageRef != image || s.ImageId != id || s.Image.Image != image {
		t.Errorf("image %s, %s, %s", s.ImageRef, s.ImageId, s.Image.Image)
	}
	if _, err := n.rt.StopContainer(n.ctx(), &runtimev1.StopContainerRequest{ContainerId: c, Timeout: 5}); err != nil {
		t.Fatal(err)
	}
	if s := n.status(c); s.State != runtimev1.ContainerState_CONTAINER_EXITED || s.ExitCode != 0 || s.Reason != "Completed" {
		t.Errorf("stopped: %+v", s)
	}
	n.wantAnswer(second, "Hello from Petrel")
	n.wantAnswer(other, "Hello from Petrel")
}

func TestCommandsEnd(t *testing.T) {
	n := newNode(t)
	task, _ := n.reg.push("default/task", taskWasm)
	n.pull(task)
	tests := []struct {
		name    string
		args    []string
		change  func(*runtimev1.PodSandboxConfig, *runtimev1.ContainerConfig)
		code    int32
		reason  string
		message string
		log     string
	}{
		{"completed", []string{"print", "hi"}, nil, 0, "Completed", "", "stdout F hi\n"},
		{"failed", []string{"complain", "no", "exit", "3"}, nil, 3, "Error", "", "stderr F no\n"},
		{"environment", []string{"env", "A", "env", "HOSTNAME", "env", "PWD"}, func(p *runtimev1.PodSandboxConfig, c *runtimev1.ContainerConfig) {
			p.Hostname = "box"
			c.Envs = []*runtimev1.KeyValue{{Key: "A", Value: []byte("b=c")}}
			c.WorkingDir = "/tmp"
		}, 0, "Completed", "", "stdout F A=b=c\nstdout F HOSTNAME=box\nstdout F PWD=/tmp\n"},
		{"command overrides", []string{"print", "x"}, func(_ *runtimev1.PodSandboxConfig, c *runtimev1.ContainerConfig) {
			c.Command = []string{"task", "print", "first"}
		}, 0, "Completed", "", "stdout F first\nstdout F x\n"},
		{"memory", []string{"allocate", "200"}, func(_ *runtimev1.PodSandboxConfig, c *runtimev1.ContainerConfig) {
			c.Linux = &runtimev1.LinuxContainerConfig{Resources: &runtimev1.LinuxContainerResources{MemoryLimitInBytes: 64 << 20}}
		}, -1, "OOMKilled", "64 MiB", ""},
		{"wall time", []string{"spin", ""}, func(p *runtimev1.PodSandboxConfig, _ *runtimev1.ContainerConfig) {
			p.Annotations["petrel.run/wall-time"] = "200ms"
		}, 137, "Error", "wall time is over (200ms)", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, c := n.podConfig("default"), containerConfig("main", task, tt.args...)
			if tt.change != nil {
				tt.change(p, c)
			}
			pod := n.run(p)
			s := n.exited(n.launch(pod, c))
			if (tt.code >= 0 && s.ExitCode != tt.code) || s.ExitCode == 0 != (tt.reason == "Completed") || s.Reason != tt.reason || !strings.Contains(s.Message, tt.message) {
				t.Errorf("exit %d %s %q", s.ExitCode, s.Reason, s.Message)
			}
			if got := n.logOf(pod, "main"); tt.log != "" && got != tt.log {
				t.Errorf("log %q, want %q", got, tt.log)
			}
		})
	}
}

func TestLimitsOfRequests(t *testing.T) {
	n := newNode(t)
	spin, _ := n.reg.push("x/spin", wasmtest.Spin())
	large, _ := n.reg.push("x/large", wasmtest.Large(200))
	n.pull(spin)
	n.pull(large)
	slow := n.podConfig("default")
	slow.Annotations["petrel.run/wall-time"] = "200ms"
	looping := n.run(slow)
	n.launch(looping, containerConfig("web", spin))
	if code, body, err := ask(looping, "/"); err != nil || code != http.StatusGatewayTimeout || !strings.Contains(body, "wall_time") {
		t.Errorf("loop: %d %s %v", code, body, err)
	}
	p := n.run(n.podConfig("default"))
	id := n.launch(p, containerConfig("web", large))
	if _, err := n.rt.UpdateContainerResources(n.ctx(), &runtimev1.UpdateContainerResourcesRequest{ContainerId: id,
		Linux: &runtimev1.LinuxContainerResources{MemoryLimitInBytes: 1 << 20}}); err != nil {
		t.Fatal(err)
	}
	if code, body, err := ask(p, "/"); err != nil || code != http.StatusInsufficientStorage || !strings.Contains(body, "memory") {
		t.Errorf("memory: %d %s %v", code, body, err)
	}
	if got := n.status(id).Resources.Linux.MemoryLimitInBytes; got != 1<<20 {
		t.Errorf("status tells a limit of %d", got)
	}
}

func TestMountsReachTheGuest(t *testing.T) {
	n := newNode(t)
	image := n.reg.pushImage("x/compat", "bin/task.wasm", taskWasm, v1.Config{Entrypoint: []string{"/bin/task.wasm"}, Cmd: []string{"print", "default"}, Env: []string{"FROM=image"}})
	n.pull(image)
	p := n.run(n.podConfig("default"))
	if s := n.exited(n.launch(p, containerConfig("plain", image))); s.ExitCode != 0 {
		t.Errorf("exit %d %s", s.ExitCode, s.Message)
	}
	if got := n.logOf(p, "plain"); got != "stdout F default\n" {
		t.Errorf("log %q: the image's own command must run", got)
	}
	env := containerConfig("env", image, "env", "FROM")
	n.exited(n.launch(p, env))
	if got := n.logOf(p, "env"); got != "stdout F FROM=image\n" {
		t.Errorf("log %q", got)
	}
	dir := t.TempDir()
	mounted := containerConfig("mounted", image)
	mounted.Mounts = []*runtimev1.Mount{{ContainerPath: "/data/", HostPath: dir, Readonly: true}}
	n.exited(n.launch(p, mounted))
	missing := containerConfig("missing", image)
	missing.Mounts = []*runtimev1.Mount{{ContainerPath: "/data", HostPath: dir + "/nowhere"}}
	if s := n.exited(n.launch(p, missing)); s.ExitCode == 0 || s.Reason != "StartError" {
		t.Errorf("a mount of nothing: exit %d %s %s", s.ExitCode, s.Reason, s.Message)
	}
}

func TestBadImagesAreRefused(t *testing.T) {
	n := newNode(t)
	text, _ := n.reg.push("bad/text", []byte("#!/bin/sh\necho no module\n"))
	broken := wasmtest.Serve("x", "", 0)
	cut, _ := n.reg.push("bad/cut", broken[:len(broken)-20])
	foreign := n.reg.pushImage("bad/container", "bin/sh", []byte("ELF"), v1.Config{Entrypoint: []string{"/bin/sh"}})
	for ref, says := range map[string]string{
		text:                   "not_wasm",
		cut:                    "malformed",
		foreign:                "application/wasm",
		"registry.test/none:1": "not found",
		"Not A Reference":      "invalid image reference",
	} {
		_, err := n.img.PullImage(n.ctx(), &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: ref}})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want it to tell %q", ref, err, says)
		}
	}
	list, err := n.img.ListImages(n.ctx(), &runtimev1.ListImagesRequest{})
	if err != nil || len(list.Images) != 0 {
		t.Errorf("images %v, %v", list, err)
	}
	blobs, err := os.ReadDir(n.root + "/blobs/sha256")
	if err != nil || len(blobs) != 0 {
		t.Errorf("blobs %v, %v", blobs, err)
	}
}

func TestLongRoot(t *testing.T) {
	root := t.TempDir() + "/" + strings.Repeat("deep/", 30)
	n := newNodeAt(t, root)
	image, _ := n.reg.push("x/hello", wasmtest.Serve("hello", "", 0))
	n.pull(image)
	p := n.run(n.podConfig("default"))
	n.launch(p, containerConfig("web", image))
	n.wantAnswer(p, "hello")
}

func TestManyPodsOfOneModule(t *testing.T) {
	const pods = 200
	n := newNode(t)
	image, _ := n.reg.push("x/hello", helloWasm)
	n.pull(image)
	n.launch(n.run(n.podConfig("default")), containerConfig("web", image))
	time.Sleep(3 * time.Second) // the first one's load is given back
	before, mine := n.runners()["default"], residentKiB(t, n.cmd.Process.Pid)

	begin := time.Now()
	list := make([]*pod, pods)
	starts := make([]time.Duration, pods)
	for i := range list {
		list[i] = n.run(n.podConfig("default"))
		id := n.create(list[i], containerConfig("web", image))
		at := time.Now()
		if _, err := n.rt.StartContainer(n.ctx(), &runtimev1.StartContainerRequest{ContainerId: id}); err != nil {
			t.Fatal(err)
		}
		starts[i] = time.Since(at)
	}
	took := time.Since(begin)
	after := n.runners()["default"]
	for _, p := range list {
		n.wantAnswer(p, "Hello from Petrel")
	}
	slices.Sort(starts)
	median := starts[pods/2] // a machine that does much else makes some of them wait
	perPod := (int64(after.ResidentBytes) - int64(before.ResidentBytes)) / pods >> 10
	t.Logf("%d pods in %v (%.0f pods/s, one at a time), StartContainer %v in the median; runner %d KiB before, %d KiB a pod; supervisor %d KiB before, %d KiB a pod",
		pods, took, pods/took.Seconds(), median, before.ResidentBytes>>10, perPod, mine, (residentKiB(t, n.cmd.Process.Pid)-mine)/pods)
	if after.Templates != 1 || after.Containers != pods+1 {
		t.Errorf("runner has %d templates and %d containers", after.Templates, after.Containers)
	}
	if median > 200*time.Millisecond {
		t.Errorf("%v for a start: replicas must not compile or measure again", median)
	}
	if perPod > 200 {
		t.Errorf("%d KiB for each idle pod", perPod)
	}
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * os.Getpagesize() >> 10
}
