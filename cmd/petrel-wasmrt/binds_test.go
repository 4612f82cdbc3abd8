package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// openNode is one whose root others can come to, so that runners get user ids of their own.
func openNode(t *testing.T, flags ...string) *node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("%s needs root: runners have user ids of their own then", t.Name())
	}
	root := reachableRoot(t)
	warm(t, root)
	n := newNodeAt(t, root, flags...)
	if c := n.confinement(); !strings.HasPrefix(c.Confinement["user"], "on") {
		t.Fatalf("runners have no user ids of their own: %v", c.Confinement)
	}
	return n
}

// TestClosedDirectories: volumes behind directories that are closed to others, as a kubelet's are, reach guests, and
// nothing of it stays behind.
func TestClosedDirectories(t *testing.T) {
	volumes := closedDir(t)
	if err := os.Mkdir(filepath.Join(volumes, "v"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"v/file": 0o644, "v/secret": 0o600, "single": 0o644} {
		if err := os.WriteFile(filepath.Join(volumes, name), []byte("content of "+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, flags := range map[string][]string{"anywhere": nil, "allowed paths": {"--allow-path", volumes, "--allow-path", os.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			n := openNode(t, flags...)
			image, _ := n.reg.push("x/task", taskWasm)
			n.pull(image)
			p := n.run(n.podConfig("default"))
			config := containerConfig("c", image)
			config.Args = []string{"read", "/data/file", "read", "/data/secret", "read", "/etc/single", "sleep", "600000"}
			config.Mounts = []*runtimev1.Mount{{HostPath: filepath.Join(volumes, "v"), ContainerPath: "/data", Readonly: true},
				{HostPath: filepath.Join(volumes, "single"), ContainerPath: "/etc/single"}}
			n.launch(p, config)
			eventually(t, "all are read", func() bool { return strings.Count(n.logOf(p, "c"), "\n") >= 3 })
			log := n.logOf(p, "c")
			if !strings.Contains(log, "content of v/file") || !strings.Contains(log, "content of single") || strings.Contains(log, "content of v/secret") {
				t.Errorf("log %q: want the file, and not what only root may read", log)
			}
			n.kill() // what is bound is found again
			n.start()
			if !n.bound() {
				t.Error("nothing is bound while the container runs")
			}
			if _, err := n.rt.StopPodSandbox(n.ctx(), &runtimev1.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
				t.Fatal(err)
			}
			if n.bound() {
				t.Error("mounts are left of a stopped sandbox")
			}
			if raw, err := os.ReadFile(filepath.Join(volumes, "v", "file")); err != nil || len(raw) == 0 {
				t.Errorf("the volume: %q, %v", raw, err)
			}
			if left, err := os.ReadDir(filepath.Join(n.root, "mounts")); err != nil || len(left) > 0 {
				t.Errorf("places are left: %v, %v", left, err)
			}
		})
	}
}

// TestBindsOfTheDead: what is bound for pods that ended with everything else is taken away.
func TestBindsOfTheDead(t *testing.T) {
	volumes := closedDir(t)
	if err := os.Mkdir(filepath.Join(volumes, "v"), 0o755); err != nil {
		t.Fatal(err)
	}
	n := openNode(t)
	image, _ := n.reg.push("x/task", taskWasm)
	n.pull(image)
	p := n.run(n.podConfig("default"))
	config := containerConfig("c", image)
	config.Args = []string{"sleep", "600000"}
	config.Mounts = []*runtimev1.Mount{{HostPath: filepath.Join(volumes, "v"), ContainerPath: "/data"}}
	n.launch(p, config)
	runners := n.runners()
	n.kill()
	for _, r := range runners {
		if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	eventually(t, "the sandbox is lost", func() bool { return n.sandboxState(p.id) == runtimev1.PodSandboxState_SANDBOX_NOTREADY })
	eventually(t, "nothing is bound", func() bool { return !n.bound() })
}

// closedDir is one that only root comes into, as a kubelet's.
func closedDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (n *node) bound() bool {
	n.t.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		n.t.Fatal(err)
	}
	return bytes.Contains(raw, []byte(filepath.Join(n.root, "mounts")+"/"))
}

// TestDirectoriesAreKept: runners are kept to their directories from the first one on, whoever's user ids they have.
func TestDirectoriesAreKept(t *testing.T) {
	if n := newNode(t, "--runner-uids", "none"); !n.keeps(t) {
		t.Skipf("%s: this kernel has no landlock", t.Name())
	}
	logs := t.TempDir()
	for name, flags := range map[string][]string{
		"with our user id": {"--runner-uids", "none", "--allow-path", logs},
		"with their own":   {"--allow-path", logs},
	} {
		if n := newNodeAt(t, t.TempDir(), flags...); !n.keeps(t) {
			t.Errorf("%s: %v", name, n.confinement().Runners)
		}
	}
}

// keeps says whether the runner of a pod has landlock.
func (n *node) keeps(t *testing.T) bool {
	t.Helper()
	n.run(n.podConfig("default"))
	runners := n.confinement().Runners
	if len(runners) != 1 {
		t.Fatalf("%d runners", len(runners))
	}
	return strings.HasPrefix(runners[0].Confinement["landlock"], "on")
}
