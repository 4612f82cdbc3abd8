package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// groupDirs are the control groups that a root's supervisor has written down.
func groupDirs(t *testing.T, root string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "groups.json"))
	if err != nil {
		return nil // it did not come so far
	}
	var g struct{ Dirs []string }
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Error(err)
	}
	return g.Dirs
}

// wantNoGroups is asked of every node at its end.
func wantNoGroups(t *testing.T, root string) {
	t.Helper()
	for _, dir := range groupDirs(t, root) {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("the control group %s is left", dir)
		}
	}
}

// confinement is what the verbose status tells of it.
type nodeConfinement struct {
	Confinement map[string]string
	Runners     []struct {
		Namespace        string
		User             uint32
		PID              int
		GroupMemoryBytes uint64
		Confinement      map[string]string
	}
}

func (n *node) confinement() nodeConfinement {
	n.t.Helper()
	r, err := n.rt.Status(n.ctx(), &runtimev1.StatusRequest{Verbose: true})
	if err != nil {
		n.t.Fatal(err)
	}
	var d nodeConfinement
	if err := json.Unmarshal([]byte(r.Info["petrel"]), &d); err != nil {
		n.t.Fatal(err)
	}
	return d
}

// reachableRoot is a directory that every user can enter, as a node's is.
func reachableRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{filepath.Dir(root), root} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestUsersOfTheirOwn: runners are other users than the supervisor and than each other, and pods of all kinds work: modules
// and machine code are read, logs are written and reopened, mounts are read and written as their modes allow, and a low port
// is listened at.
func TestUsersOfTheirOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give others' user ids")
	}
	root := reachableRoot(t)
	volumes := reachableRoot(t)
	if err := os.MkdirAll(filepath.Join(root, "logs"), 0o711); err != nil {
		t.Fatal(err)
	}
	warm(t, root)
	n := newNodeAt(t, root, "--allow-path", filepath.Join(root, "logs"), "--allow-path", volumes)
	hello, _ := n.reg.push("x/hello", helloWasm)
	task, _ := n.reg.push("x/task", taskWasm)
	n.pull(hello)
	n.pull(task)
	config := n.podConfig("one")
	config.PortMappings = []*runtimev1.PortMapping{{ContainerPort: 80}}
	web := n.run(config)
	webID := n.launch(web, containerConfig("web", hello))
	for range 2 {
		if code, body, err := askURL("http://" + web.ip + ":80/"); err != nil || code != 200 || !strings.Contains(body, "Hello from Petrel") {
			t.Errorf("%d %q %v", code, body, err)
		}
	}
	other := n.run(n.podConfig("two"))
	job := n.launch(other, containerConfig("job", task, "print", "done"))
	if s := n.exited(job); s.ExitCode != 0 {
		t.Errorf("job: %+v", s)
	}
	if raw, err := os.ReadFile(filepath.Join(other.config.LogDirectory, "job", "0.log")); err != nil || !strings.Contains(string(raw), "done") {
		t.Errorf("log %q, %v", raw, err)
	}
	log := filepath.Join(web.config.LogDirectory, "web", "0.log")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.rt.ReopenContainerLog(n.ctx(), &runtimev1.ReopenContainerLogRequest{ContainerId: webID}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(log); err != nil {
		t.Error(err)
	}
	outside := containerConfig("outside", task)
	outside.Mounts = []*runtimev1.Mount{{ContainerPath: "/etc", HostPath: "/etc"}}
	if _, err := n.rt.CreateContainer(n.ctx(), &runtimev1.CreateContainerRequest{PodSandboxId: other.id, Config: outside}); err == nil || !strings.Contains(err.Error(), "--allow-path") {
		t.Errorf("a mount from outside: %v", err)
	}
	n.wantUsers(map[string]bool{"one": true, "two": true})

	// A cache that was emptied is filled by the supervisor, and the id is kept.
	before := n.confinement().Runners
	if err := os.RemoveAll(filepath.Join(root, "cache")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "cache"), 0o711); err != nil {
		t.Fatal(err)
	}
	for _, r := range before {
		if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "the pods' end", func() bool {
		return n.sandboxState(web.id) == runtimev1.PodSandboxState_SANDBOX_NOTREADY && n.sandboxState(other.id) == runtimev1.PodSandboxState_SANDBOX_NOTREADY
	})
	again := n.podConfig("two")
	job = n.launch(n.run(again), containerConfig("job", task, "exit", "3"))
	if s := n.exited(job); s.ExitCode != 3 {
		t.Errorf("job: %+v", s)
	}
	for _, r := range n.confinement().Runners {
		for _, b := range before {
			if r.Namespace == b.Namespace && r.User != b.User {
				t.Errorf("namespace %s had user %d and has %d", r.Namespace, b.User, r.User)
			}
		}
	}
}

// wantUsers looks at the runners' processes.
func (n *node) wantUsers(namespaces map[string]bool) {
	n.t.Helper()
	seen := map[uint32]string{}
	c := n.confinement()
	for _, r := range c.Runners {
		if !namespaces[r.Namespace] {
			continue
		}
		info, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID))
		if err != nil {
			n.t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != r.User || uid == 0 || seen[uid] != "" {
			n.t.Errorf("runner of %s has user %d, told %d, and %d is that of %q", r.Namespace, uid, r.User, uid, seen[uid])
		}
		seen[r.User] = r.Namespace
		if !strings.HasPrefix(r.Confinement["seccomp"], "on: ") || r.GroupMemoryBytes == 0 && strings.HasPrefix(c.Confinement["memory"], "on") {
			n.t.Errorf("runner of %s: %+v", r.Namespace, r)
		}
	}
	if len(seen) != len(namespaces) {
		n.t.Errorf("users %v", seen)
	}
}

// TestClosedRootKeepsRunnersOurs: where other users cannot come to the root, it is said which directory is in the way.
func TestClosedRootKeepsRunnersOurs(t *testing.T) {
	n := newNode(t)
	got := n.confinement().Confinement["user"]
	if os.Geteuid() != 0 {
		t.Skip("not root: ", got)
	}
	if !strings.HasPrefix(got, "off: ") || !strings.Contains(got, filepath.Dir(n.root)) || !strings.Contains(got, "chmod o+x") {
		t.Errorf("user: %s", got)
	}
}

// TestOutOfMemory: the kernel ends the runner of a namespace that takes too much, its pods are told so, and nobody else's.
func TestOutOfMemory(t *testing.T) {
	n := newNode(t, "--runner-memory", "96Mi")
	if memory := n.confinement().Confinement["memory"]; !strings.HasPrefix(memory, "on: ") {
		t.Skip("memory is not bounded here: ", memory)
	}
	task, _ := n.reg.push("x/task", taskWasm)
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	n.pull(task)
	n.pull(server)
	other := n.run(n.podConfig("other"))
	n.launch(other, containerConfig("web", server))
	greedy := n.run(n.podConfig("greedy"))
	beside := n.launch(greedy, containerConfig("web", server))
	id := n.launch(greedy, containerConfig("eat", task, "allocate", "200", "sleep", "60000"))
	for _, c := range []string{id, beside} {
		if s := n.exited(c); s.ExitCode != 137 || s.Reason != "OOMKilled" || !strings.Contains(s.Message, "--runner-memory") {
			t.Errorf("%+v", s)
		}
	}
	n.wantAnswer(other, "hello")
}

// TestKillsLeaveNoGroup kills supervisor and runners at random, and looks whether groups and processes are accounted for.
// (That none is left at the end is looked at for every node.)
func TestKillsLeaveNoGroup(t *testing.T) {
	n := newNode(t)
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	n.pull(server)
	const namespaces = 3
	for round := range 6 {
		for i := range namespaces {
			ns := fmt.Sprintf("ns%d", i)
			config := n.podConfig(ns)
			delete(config.Annotations, "petrel.run/pod-ip")
			_, err := n.rt.RunPodSandbox(n.ctx(), &runtimev1.RunPodSandboxRequest{Config: config})
			if err != nil && status.Code(err) != codes.Unavailable { // the supervisor was killed, or the runner died twice and has to wait
				t.Fatal(err)
			}
		}
		victims := n.confinement().Runners
		if len(victims) > 0 && rand.IntN(2) == 0 {
			// One that was killed in the round before may still be listed.
			if err := syscall.Kill(victims[rand.IntN(len(victims))].PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
		if round%2 == 1 {
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			n.kill()
			n.start()
		}
	}
	eventually(t, "groups of the runners that there are, and of no others", func() bool {
		want := map[string]bool{}
		for _, r := range n.confinement().Runners {
			want[r.Namespace] = true
		}
		for _, holder := range groupDirs(t, n.root) {
			entries, err := os.ReadDir(holder)
			if err != nil {
				return false
			}
			dirs := 0
			for _, e := range entries {
				if e.IsDir() {
					dirs++
				}
			}
			if dirs != len(want) {
				return false
			}
		}
		return true
	})
}
