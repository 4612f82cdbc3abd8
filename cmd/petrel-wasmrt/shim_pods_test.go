package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
	"github.com/petrelrun/petrel/wasmrt/shim"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// TestShim runs Wasm pods through containerd and our shim: Debian's 1.6 and the current 2.x.
func TestShim(t *testing.T) {
	for name, program := range map[string]func(testing.TB) string{
		"containerd 1": func(testing.TB) string { return "" },
		"containerd 2": containerdtest.V2,
	} {
		t.Run(name, func(t *testing.T) {
			n := newShimNode(t, program(t))
			if n.ctr = "ctr"; program(t) != "" { // the one on PATH, or beside containerd
				n.ctr = filepath.Join(filepath.Dir(program(t)), "ctr")
			}
			for _, sub := range []struct {
				name string
				test func(*testing.T, *shimNode)
			}{
				{"a command", shimCommand}, {"many pods", shimMany}, {"refusals", shimRefusals}, {"an artifact", shimArtifact},
				{"grace", shimGrace}, {"the network", shimNetwork}, {"kill -9 of containerd", shimContainerdDies}, {"kill -9 of the runtime", shimRuntimeDies},
				{"kill -9 of a runner", shimRunnerDies}, {"kill -9 of the daemon", shimDaemonDies}, {"ctr", shimCtr}, {"kill -9 at random", shimKilledAtRandom},
			} {
				t.Run(sub.name, func(t *testing.T) {
					inner := *n
					inner.t = t
					sub.test(t, &inner)
				})
			}
		})
	}
}

// task is a container of the command that obeys its arguments.
func (n *shimNode) task(args ...string) *runtimev1.ContainerConfig {
	n.t.Helper()
	image := n.image("task", taskWasm)
	c := containerdtest.Container("c", image)
	c.Args = args
	return c
}

func shimCommand(t *testing.T, n *shimNode) {
	config := n.task("print", "hello", "complain", "oh", "env", "FROM", "env", "OWN", "exit", "3")
	config.Envs = []*runtimev1.KeyValue{{Key: "OWN", Value: []byte("container")}}
	sandbox := n.Sandbox("command")
	id, c := n.launch(sandbox, config)
	if s := n.exited(c); s.ExitCode != 3 || s.Reason != "Error" || s.FinishedAt == 0 {
		t.Errorf("status %v", s)
	}
	log := n.logOf(sandbox, "c")
	for _, want := range []string{"stdout F hello\n", "stdout F FROM=image\n", "stdout F OWN=container\n", "stderr F oh\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("log %q lacks %q", log, want)
		}
	}
	n.remove(id)
}

// shimCtr runs a container without the CRI, by containerd's own client.
func shimCtr(t *testing.T, n *shimNode) {
	image := n.image("task", taskWasm)
	run := func(args ...string) (string, error) {
		args = append([]string{"-a", n.Socket(), "-n", "k8s.io", "run", "--rm", "--runtime", shim.RuntimeType}, args...)
		var out, errs bytes.Buffer
		cmd := exec.Command(n.ctr, args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, errs.String())
		}
		return out.String(), err
	}
	var exit *exec.ExitError
	if out, err := run("--net-host", image, "one", "/app.wasm", "print", "by ctr", "exit", "3"); out != "by ctr\n" || !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := run(image, "two", "/app.wasm", "print", "x"); err == nil || !strings.Contains(err.Error(), "--net-host") {
		t.Errorf("without a network: %v", err)
	}
}

// shimMany: a pod more is no process more, and leaves nothing open.
func shimMany(t *testing.T, n *shimNode) {
	const pods = 12
	first, _ := n.launch(n.Sandbox("first"), n.task("sleep", "600000"))
	n.remove(first)
	open := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.pid("daemon")))
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := open()
	var ids []string
	for range pods {
		id, _ := n.launch(n.Sandbox("many"), n.task("sleep", "600000"))
		ids = append(ids, id)
	}
	words := map[string]int{}
	for _, pid := range n.processes() {
		for _, word := range []string{"daemon", "serve", "runner"} {
			if strings.Contains(commandLine(pid), " "+word+" ") {
				words[word]++
			}
		}
	}
	if got := fmt.Sprint(words); got != "map[daemon:1 runner:1 serve:1]" {
		t.Errorf("%d pods are processes %s", pods, got)
	}
	for _, id := range ids {
		n.remove(id)
	}
	n.until("what the pods had open is closed", func() bool { return open() <= before })
}

func shimRefusals(t *testing.T, n *shimNode) {
	sandbox := n.Sandbox("refusals")
	id := n.sandbox(sandbox)
	shell := containerdtest.Container("shell", n.ImportBusybox())
	if _, err := n.begin(id, sandbox, shell); err == nil || !strings.Contains(err.Error(), "no WebAssembly") {
		t.Errorf("a program for processes: %v", err)
	}
	terminal := n.task("print", "x")
	terminal.Metadata.Name, terminal.Tty = "terminal", true
	if _, err := n.begin(id, sandbox, terminal); err == nil || !strings.Contains(err.Error(), "terminal") {
		t.Errorf("a terminal: %v", err)
	}
	broken := containerdtest.Container("broken", n.image("broken", []byte("\x00asm\x01\x00\x00\x00rubbish")))
	if _, err := n.begin(id, sandbox, broken); err == nil {
		t.Error("a broken module is run")
	}
	running := n.task("sleep", "600000")
	running.Metadata.Name = "running"
	c, err := n.begin(id, sandbox, running)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := n.CRI.ExecSync(context.Background(), c, []string{"ls"}, time.Minute); err != nil || r.ExitCode != 126 || len(r.Stderr) == 0 {
		t.Errorf("exec of what is not there: %+v, %v", r, err)
	}
	if r, err := n.CRI.ExecSync(context.Background(), c, []string{"/app.wasm", "print", "again", "exit", "4"}, time.Minute); err != nil || r.ExitCode != 4 || string(r.Stdout) != "again\n" {
		t.Errorf("exec of the command itself: %+v, %v", r, err)
	}
	if s := n.status(c); s.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Errorf("afterwards: %v", s)
	}
	n.remove(id)
}

// shimArtifact: containerd 1.6 cannot pull artifacts; what it has got otherwise runs all the same.
func shimArtifact(t *testing.T, n *shimNode) {
	layer := static.NewLayer(wasmtest.Print("from an artifact\n", "", 0), "application/wasm")
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.wasm.config.v0+json"), layer)
	if err == nil {
		img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "wasip1", Architecture: "wasm", RootFS: v1.RootFS{Type: "layers"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	n.Import("test.petrel.internal/artifact:1", img)
	sandbox := n.Sandbox("artifact")
	id, c := n.launch(sandbox, containerdtest.Container("c", "test.petrel.internal/artifact:1", "/app.wasm"))
	if s := n.exited(c); s.ExitCode != 0 {
		t.Errorf("status %v", s)
	}
	if log := n.logOf(sandbox, "c"); log != "stdout F from an artifact\n" {
		t.Errorf("log %q", log)
	}
	n.remove(id)
}

// shimGrace: who stops waits as long as it has said, and not longer.
func shimGrace(t *testing.T, n *shimNode) {
	id, c := n.launch(n.Sandbox("grace"), n.task("sleep", "600000"))
	begun := time.Now()
	if err := n.CRI.StopContainer(context.Background(), c, time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < time.Second || took > 30*time.Second {
		t.Errorf("stopped after %s", took)
	}
	if s := n.exited(c); s.ExitCode != 137 {
		t.Errorf("status %v", s)
	}
	n.remove(id)
}

// counting is a pod that prints a line every tenth of a second, and a look at how many lines there are.
func (n *shimNode) counting() (id, c string, lines func() int) {
	n.t.Helper()
	sandbox := n.Sandbox("counting")
	id, c = n.launch(sandbox, n.task("count", "100000"))
	return id, c, func() int { return strings.Count(n.logOf(sandbox, "c"), "\n") }
}

func shimContainerdDies(t *testing.T, n *shimNode) {
	id, c, lines := n.counting()
	n.until("it prints", func() bool { return lines() > 0 })
	n.Kill()
	n.AwaitReady()
	if s := n.status(c); s.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Fatalf("status %v", s)
	}
	before := lines()
	n.until("it prints again", func() bool { return lines() > before })
	n.remove(id)
}

func shimRuntimeDies(t *testing.T, n *shimNode) {
	id, c, lines := n.counting()
	n.until("it prints", func() bool { return lines() > 0 })
	n.kill("serve")
	before := lines()
	n.until("it prints on", func() bool { return lines() > before })
	if s := n.status(c); s.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Errorf("status %v", s)
	}
	shimCommand(t, n) // with a runtime that was started again
	if err := n.CRI.StopContainer(context.Background(), c, 0); err != nil {
		t.Fatal(err)
	}
	if s := n.exited(c); s.ExitCode != 137 {
		t.Errorf("status %v", s)
	}
	n.remove(id)
}

func shimRunnerDies(t *testing.T, n *shimNode) {
	id, c, _ := n.counting()
	n.kill("runner")
	if s := n.exited(c); s.ExitCode != 137 {
		t.Errorf("status %v", s)
	}
	n.until("the sandbox is not ready", func() bool {
		s, err := n.CRI.PodSandboxStatus(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		return s.State == runtimev1.PodSandboxState_SANDBOX_NOTREADY
	})
	n.remove(id)
}

// shimDaemonDies: containerd takes its pods for dead, and they are.
func shimDaemonDies(t *testing.T, n *shimNode) {
	id, c, lines := n.counting()
	n.until("it prints", func() bool { return lines() > 0 })
	n.kill("daemon")
	n.exited(c)
	shimCommand(t, n) // with a daemon that was started again
	n.remove(id)
	pipes, err := filepath.Glob(filepath.Join(n.run, "*", "io", "*"))
	if err != nil || len(pipes) > 0 {
		t.Errorf("pipes are left: %v, %v", pipes, err)
	}
	if raw, err := os.ReadFile(filepath.Join(n.run, "log")); err != nil || strings.Contains(string(raw), "leftovers") {
		t.Errorf("%v, %s", err, raw)
	}
}

// get asks a guest from containerd's network namespace, on a connection of its own.
func (n *shimNode) get(url string) (string, error) {
	client := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: n.Dial}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", string(raw)), err
}

// server is a container of an HTTP guest with a port of its own.
func (n *shimNode) server(name, body string, port int) *runtimev1.ContainerConfig {
	n.t.Helper()
	c := containerdtest.Container(name, n.image("server-"+body, wasmtest.Serve(body, "asked\n", 0)))
	c.Annotations = map[string]string{"io.kubernetes.container.ports": fmt.Sprintf(`[{"containerPort":%d}]`, port)}
	return c
}

// shimNetwork: guests are at their pod's address, which CNI gave, at the ports that they declare, and beside one another
// at the same ones. Those of the host's network are at the host's.
func shimNetwork(t *testing.T, n *shimNode) {
	pods := map[string]string{}
	for _, body := range []string{"one", "two"} {
		sandbox := n.Sandbox(body)
		id, _ := n.launch(sandbox, n.server("web", body, 80))
		s, err := n.CRI.PodSandboxStatus(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := n.get("http://" + s.Network.Ip + "/"); err != nil || answer != "200 "+body {
			t.Errorf("%s at %s: %q, %v", body, s.Network.Ip, answer, err)
		}
		n.until("the log comes", func() bool { return strings.Contains(n.logOf(sandbox, "web"), "stdout F asked\n") })
		pods[id] = s.Network.Ip
	}
	n.kill("serve") // who is asked meanwhile answers
	for id, ip := range pods {
		if answer, err := n.get("http://" + ip + "/"); err != nil || !strings.HasPrefix(answer, "200 ") {
			t.Errorf("%s without the runtime: %q, %v", ip, answer, err)
		}
		n.remove(id)
		if answer, err := n.get("http://" + ip + "/"); err == nil {
			t.Errorf("%s answers %q when its pod is gone", ip, answer)
		}
	}
	host := n.Sandbox("host")
	host.Linux.SecurityContext.NamespaceOptions = &runtimev1.NamespaceOption{Network: runtimev1.NamespaceMode_NODE}
	id, _ := n.launch(host, n.server("web", "host", 8085))
	if answer, err := n.get("http://127.0.0.1:8085/"); err != nil || answer != "200 host" {
		t.Errorf("the host's network: %q, %v", answer, err)
	}
	n.remove(id)
}
