package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
)

const upManifest = `
apiVersion: v1
kind: Pod
metadata: {name: shop, labels: {app: shop}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: shop, image: test.petrel.internal/box:1, command: [box, serve, ":8080", "from a container"]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: sh, image: test.petrel.internal/box:1, command: [sleep, "100000"]}
`

// TestUpNetworkCluster runs petrel up with addresses beyond loopback on a machine of its own: containers reach one another
// by names, and when it ends nothing of it stays.
func TestUpNetworkCluster(t *testing.T) {
	t.Parallel()
	m := aMachine(t)
	data := filepath.Join(m.Dir, "up")
	if err := m.Start("up", filepath.Join(suite.tree.Bin(), "petrel"), "up", "--network=cluster", "--containerd=own", "--data-dir", data, "--log-file", "-"); err != nil {
		t.Fatal(err)
	}
	kubectl := func(stdin string, args ...string) (string, error) {
		return output(t, m, stdin, suite.kubectl, append([]string{"--kubeconfig", filepath.Join(data, "admin.kubeconfig")}, args...)...)
	}
	m.await(t, "the node to run containers", func() error {
		out, err := kubectl("", "get", "nodes", "-o", "wide")
		if err == nil && !strings.Contains(out, "containerd://") {
			err = errors.New(out)
		}
		return err
	})
	importImage(t, m.init, boxImage, box(t))
	m.await(t, "the manifests to be taken", func() error { // the default namespace's service account may come a moment later
		_, err := kubectl(upManifest, "apply", "-f", "-")
		return err
	})
	m.await(t, "a container to reach another by its service's name", func() error {
		out, err := kubectl("", "exec", "client", "--", "box", "get", "http://shop/")
		if err == nil && !strings.Contains(out, "from a container") {
			err = errors.New(out)
		}
		return err
	})

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.Stop(ctx, "up"); err != nil {
		t.Fatal(err)
	}
	if links, err := output(t, m.Node, "", "ip", "-o", "link"); err != nil || strings.Contains(links, "ptl") {
		t.Errorf("links after its end: %v\n%s", err, links)
	}
	if rules, err := output(t, m.Node, "", "ip", "route", "show", "table", "all", "proto", "112"); err != nil || strings.TrimSpace(rules) != "" {
		t.Errorf("routes after its end: %v\n%s", err, rules)
	}
	for _, top := range m.groups {
		entries, _ := os.ReadDir(top + "/kubepods") // where there is none, nothing is left
		for _, e := range entries {
			if e.IsDir() {
				t.Errorf("a control group after its end: %s/kubepods/%s", top, e.Name())
			}
		}
	}
	for _, p := range m.Processes() {
		if len(p.Args) > 0 && strings.HasPrefix(filepath.Base(p.Args[0]), "containerd") {
			t.Errorf("a process goes on: %q", p.Args)
		}
	}
	if mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", m.init)); err != nil || regexp.MustCompile(`(?m)^(\S+ ){4}/run/petrel/`).Match(mounts) {
		t.Errorf("mounts after its end: %v\n%s", err, mounts)
	}
}

// machine is one of a lab, without a cluster on it.
type machine struct {
	*lab.Node
	init   int
	groups []string // directories of its control groups
}

// aMachine answers a machine that the test alone uses.
func aMachine(t *testing.T) machine {
	t.Helper()
	dir := filepath.Join(suite.dir, folderName(t))
	l, err := lab.New(lab.Config{Dir: dir, Nodes: 1, Links: 1, Program: filepath.Join(suite.tree.Bin(), "petrel")})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err = l.Open(t.Context())
	if errors.Is(err, cluster.ErrUnsupported) {
		t.Skipf("a machine of namespaces: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := machine{l.Nodes()[0], l.State().Nodes[0].Place.Init, l.State().Nodes[0].Place.Groups}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- the end of the log\n%s", cluster.Tail(m.LogPath("up"), 60))
		}
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// await waits until something holds.
func (m machine) await(t *testing.T, what string, holds func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", patience, what, err)
		}
	}
}

// output is what a command prints on a machine.
func output(t *testing.T, on interface{ Exec(*exec.Cmd) error }, stdin, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	cmd := &exec.Cmd{Path: path, Args: append([]string{name}, args...), Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &out}
	if err := on.Exec(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out.String())
	}
	return out.String(), nil
}
