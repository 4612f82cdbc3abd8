package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/shim"
	"github.com/petrelrun/petrel/worker/containerd"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
	"github.com/petrelrun/petrel/worker/cri/critest"
)

// shimNode is a containerd with our shim, and nothing else of Petrel.
type shimNode struct {
	*containerdtest.Containerd
	t         *testing.T
	run, root string
	ctr       string // containerd's own client
}

// newShimNode starts one. Its end fails the test when anything of the shim is left.
func newShimNode(t *testing.T, program string) *shimNode {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("%s needs root, to run containerd", t.Name())
	}
	n := &shimNode{t: t}
	for _, dir := range []*string{&n.root, &n.run} {
		var err error
		if *dir, err = os.MkdirTemp("", "psh"); err == nil { // a socket's path must be short
			err = os.Chmod(*dir, 0o711) // runners have user ids of their own
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	warm(t, n.root)
	link := filepath.Join(n.run, shim.Program)
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{"PETREL_SHIM_ROOT": n.root, "PETREL_SHIM_RUN": n.run, "PETREL_SHIM_IDLE": "1s", "PATH": n.run + ":" + os.Getenv("PATH")} {
		t.Setenv(name, v)
	}
	t.Cleanup(n.end)
	n.Containerd = containerdtest.Start(t, containerdtest.Config{Program: program, Handlers: []containerd.Handler{{
		Name: "wasm", Type: shim.RuntimeType, PodAnnotations: []string{"petrel.run/*"}, ContainerAnnotations: []string{"io.kubernetes.container.ports"},
	}}})
	t.Cleanup(n.drain)
	return n
}

// drain removes all pods and waits for the daemon's end, which is before containerd's.
func (n *shimNode) drain() {
	pods, err := n.CRI.ListPodSandbox(context.Background(), nil)
	if err != nil {
		n.t.Error(err)
	}
	for _, p := range pods {
		n.remove(p.GetId())
	}
	n.until("the daemon ends", func() bool { return len(n.processes()) == 0 })
}

// end is called when containerd has ended, with all its pods.
func (n *shimNode) end() {
	if n.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(n.run, "log"))
		n.t.Logf("log of daemon and runtime:\n%s", log)
	}
	deadline := time.Now().Add(60 * time.Second)
	left := n.processes()
	for ; len(left) > 0 && time.Now().Before(deadline); left = n.processes() {
		time.Sleep(50 * time.Millisecond)
	}
	for _, pid := range left {
		n.t.Errorf("process %s is left: %s", pid, commandLine(pid))
		_ = exec.Command("kill", "-9", pid).Run() // found by our own directory in its arguments a moment ago
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); bytes.Contains(mounts, []byte(n.run+"/")) || bytes.Contains(mounts, []byte(n.root+"/")) {
		n.t.Error("mounts are left")
	}
	wantNoGroups(n.t, n.root)
	if err := errors.Join(os.RemoveAll(n.run), os.RemoveAll(n.root)); err != nil {
		n.t.Error(err)
	}
}

// processes are those with our directories in their arguments.
func (n *shimNode) processes() []string {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		n.t.Fatal(err)
	}
	var pids []string
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		if line := commandLine(pid); strings.Contains(line, n.root+"/") || strings.Contains(line, n.root+" ") || strings.Contains(line, shim.Program) && strings.Contains(line, n.Dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func commandLine(pid string) string {
	raw, _ := os.ReadFile("/proc/" + pid + "/cmdline")
	return string(bytes.ReplaceAll(raw, []byte{0}, []byte{' '}))
}

// image imports a module as an ordinary image and answers its name.
func (n *shimNode) image(name string, module []byte) string {
	n.t.Helper()
	full := "test.petrel.internal/" + name + ":1"
	n.Import(full, containerdtest.Image(n.t, v1.Config{Entrypoint: []string{"/app.wasm"}, Env: []string{"FROM=image"}}, map[string]containerdtest.File{"app.wasm": {Content: module}}))
	return full
}

// launch runs a container in a sandbox of the shim.
func (n *shimNode) launch(sandbox *runtimev1.PodSandboxConfig, config *runtimev1.ContainerConfig) (sandboxID, id string) {
	n.t.Helper()
	sandboxID = n.sandbox(sandbox)
	id, err := n.begin(sandboxID, sandbox, config)
	if err != nil {
		n.t.Fatal(err)
	}
	return sandboxID, id
}

func (n *shimNode) sandbox(config *runtimev1.PodSandboxConfig) string {
	n.t.Helper()
	id, err := n.CRI.RunPodSandbox(context.Background(), config, "wasm")
	if err != nil {
		n.t.Fatal(err)
	}
	return id
}

func (n *shimNode) begin(sandboxID string, sandbox *runtimev1.PodSandboxConfig, config *runtimev1.ContainerConfig) (string, error) {
	id, err := n.CRI.CreateContainer(context.Background(), sandboxID, config, sandbox)
	if err == nil {
		err = n.CRI.StartContainer(context.Background(), id)
	}
	return id, err
}

func (n *shimNode) status(id string) *runtimev1.ContainerStatus {
	n.t.Helper()
	s, _, err := n.CRI.ContainerStatus(context.Background(), id, false)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// until waits for what must become true.
func (n *shimNode) until(what string, is func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("it never comes that %s", what)
		}
	}
}

func (n *shimNode) exited(id string) *runtimev1.ContainerStatus {
	n.t.Helper()
	n.until("container "+id+" exits", func() bool { return n.status(id).State == runtimev1.ContainerState_CONTAINER_EXITED })
	return n.status(id)
}

// logOf answers what a container has printed, without times.
func (n *shimNode) logOf(sandbox *runtimev1.PodSandboxConfig, name string) string {
	n.t.Helper()
	raw, err := os.ReadFile(filepath.Join(sandbox.LogDirectory, name+".log"))
	if err != nil {
		n.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(raw)) {
		_, rest, _ := strings.Cut(line, " ")
		out.WriteString(rest)
	}
	return out.String()
}

// remove ends a pod as kubelets do.
func (n *shimNode) remove(sandboxID string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := critest.EndSandbox(ctx, n.CRI, sandboxID); err != nil {
		n.t.Fatal(err)
	}
}

// pid finds the one process of ours whose arguments have the word.
func (n *shimNode) pid(word string) int {
	n.t.Helper()
	var found []int
	for _, pid := range n.processes() {
		if strings.Contains(commandLine(pid), " "+word+" ") {
			number, err := strconv.Atoi(pid)
			if err != nil {
				n.t.Fatal(err)
			}
			found = append(found, number)
		}
	}
	if len(found) != 1 {
		n.t.Fatalf("%d processes are %s: %v", len(found), word, found)
	}
	return found[0]
}

// kill ends a process by SIGKILL and waits until it is gone.
func (n *shimNode) kill(word string) {
	n.t.Helper()
	pid := n.pid(word)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	n.until(word+" is gone", func() bool {
		for _, other := range n.processes() {
			if other == strconv.Itoa(pid) {
				return false
			}
		}
		return true
	})
}
