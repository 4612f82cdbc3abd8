package main

import (
	"encoding/json"
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
			if err := syscall.Kill(victims[rand.IntN(len(victims))].PID, syscall.SIGKILL); err != nil {
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
