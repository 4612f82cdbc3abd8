package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/petrelrun/petrel/lab"
	"github.com/petrelrun/petrel/test/cluster"
	"github.com/petrelrun/petrel/worker/containerd"
	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

// systemDaemon is a containerd that is the machine's, not the worker's: what an administrator installs and configures.
const (
	systemDaemon = "containerd"
	systemSocket = "/run/containerd/containerd.sock"
	cniSocket    = "/run/petrel/cni.sock"
	systemPause  = "test.petrel.internal/pause:1"
)

// systemConfig is its configuration, with everything in $DIR: of the machine's directories only /run is the node's own.
const systemConfig = `version = 2
root = "$DIR/root"
state = "/run/containerd"
[grpc]
  address = "` + systemSocket + `"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + systemPause + `"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$DIR/bin"
    conf_dir = "$DIR/net.d"
[plugins."io.containerd.internal.v1.opt"]
  path = "$DIR/opt"
`

const systemPods = `
apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: box, image: $BOX, command: [box, serve, ":8080", "from a container"], readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: module}
spec:
  containers:
  - {name: module, image: $PROBE, ports: [{containerPort: 8080}]}
`

// TestSystemContainerd has a node use a containerd that somebody else starts, later than the worker, and that has a
// container of somebody else's.
func TestSystemContainerd(t *testing.T) {
	t.Parallel()
	n := nodesClusterWith(t, cluster.Options{Args: []string{"--containerd=system", "--cni-socket=" + cniSocket}}, 1, 1)
	w := worldIn(t, n.Cluster())
	w.apply(strings.SplitAfter(systemPods, "---\n")[1]) // the node is one for Wasm meanwhile
	w.kubectl("wait", "pod/module", "--for=condition=Ready", "--timeout=150s")

	s := startSystemContainerd(w, n)
	s.give(systemPause, pauseLike(t))
	s.give(boxImage, box(t))
	s.runOther()
	w.apply(systemPods)
	w.kubectl("wait", "pod/box", "pod/module", "--for=condition=Ready", "--timeout=150s")
	w.comes("^node-1 .*containerd://", "get", "nodes", "-o", "wide")
	reached := func() {
		t.Helper()
		for url, want := range map[string]string{"http://127.0.0.1:8080/": "from a container", "http://" + w.pod("module").Status.PodIP + ":8080/": "probe"} {
			w.eventually("the container to be answered by "+url, func() error {
				out, err := w.k.Run(t.Context(), "", "exec", "box", "--", "box", "get", url)
				if err == nil && !strings.Contains(out, want) {
					err = &missing{what: want, in: out}
				}
				return err
			})
		}
	}
	reached()

	before := w.pod("box")
	for _, process := range []string{lab.Worker, systemDaemon} {
		if err := errors.Join(s.node.Kill(t.Context(), process), s.node.Restart(process)); err != nil {
			t.Fatal(err)
		}
		reached()
	}
	w.apply(strings.ReplaceAll(strings.SplitAfter(systemPods, "---\n")[0], "name: box}", "name: later}"))
	w.kubectl("wait", "pod/later", "--for=condition=Ready", "--timeout=150s")
	after := w.pod("box")
	if after.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID || after.Status.PodIP != before.Status.PodIP {
		t.Errorf("the pod was %+v, and is %+v", before.Status, after.Status)
	}

	w.kubectl("delete", "pod", "box", "later", "module", "--timeout=150s")
	if tasks := s.ctr("-n", "other", "tasks", "ls"); !strings.Contains(tasks, "RUNNING") {
		t.Errorf("somebody else's container is %q", tasks)
	}
	w.eventually("the pods' containers to be gone", func() error {
		if left := strings.Fields(s.ctr("-n", "k8s.io", "containers", "ls", "-q")); len(left) > 0 {
			return fmt.Errorf("%q are left", left)
		}
		return nil
	})
	s.endOther()
}

// systemContainerd is one on a node.
type systemContainerd struct {
	*world
	node   *lab.Node
	dir    string
	socket string // as this process sees it
}

func startSystemContainerd(w *world, n *cluster.Nodes) *systemContainerd {
	w.Helper()
	node := n.Lab.Nodes()[0]
	s := &systemContainerd{world: w, node: node, dir: filepath.Join(node.Dir, "system")}
	s.socket = fmt.Sprintf("/proc/%d/root%s", n.Lab.State().Nodes[0].Place.Init, systemSocket)
	config := filepath.Join(s.dir, "config.toml")
	err := os.MkdirAll(s.dir, 0o755)
	if err == nil {
		err = os.WriteFile(config, []byte(strings.ReplaceAll(systemConfig, "$DIR", s.dir)), 0o600)
	}
	if err != nil {
		w.Fatal(err)
	}
	install := &exec.Cmd{Path: w.cluster.Petrel(), Args: []string{"petrel", "cni", "install", "--socket", cniSocket,
		"--conf-dir", filepath.Join(s.dir, "net.d"), "--bin-dir", filepath.Join(s.dir, "bin")}}
	if out, err := install.CombinedOutput(); err != nil {
		w.Fatalf("petrel cni install: %v: %s", err, out)
	}
	program, err := containerd.Find(w.Context(), os.Getenv("PETREL_CONTAINERD"))
	if err != nil {
		w.Fatal(err)
	}
	if err := node.Start(systemDaemon, program.Path, "--config", config); err != nil {
		w.Fatal(err)
	}
	w.eventually("containerd to listen", func() error {
		conn, err := net.Dial("unix", s.socket)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return s
}

func (s *systemContainerd) give(name string, image v1.Image) {
	s.Helper()
	client, err := containerd.NewClient(s.socket)
	if err != nil {
		s.Fatal(err)
	}
	defer client.Close()
	if err := client.Import(s.Context(), name, image); err != nil {
		s.Fatal(err)
	}
}

// pauseLike is an image whose one process waits.
func pauseLike(t *testing.T) v1.Image {
	return containerdtest.BusyboxImage(t, v1.Config{Cmd: []string{"/bin/sleep", "1000000"}})
}

// ctr runs containerd's own client on the node.
func (s *systemContainerd) ctr(args ...string) string {
	s.Helper()
	out, err := output(s.T, s.node, "", "ctr", append([]string{"-a", systemSocket}, args...)...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// runOther runs a container in a namespace of containerd's that is somebody else's.
func (s *systemContainerd) runOther() {
	s.Helper()
	root := filepath.Join(s.dir, "other")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		s.Fatal(err)
	}
	content, err := os.ReadFile(busybox)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Join(root, "bin"), 0o755), os.WriteFile(filepath.Join(root, "bin", "sleep"), content, 0o755))
	}
	if err != nil {
		s.Fatal(err)
	}
	s.ctr("-n", "other", "run", "-d", "--rootfs", root, "other", "/bin/sleep", "1000000")
}

func (s *systemContainerd) endOther() {
	s.Helper()
	s.ctr("-n", "other", "tasks", "rm", "-f", "other")
	s.ctr("-n", "other", "containers", "rm", "other")
	if err := s.node.Stop(context.Background(), systemDaemon); err != nil {
		s.Error(err)
	}
}
