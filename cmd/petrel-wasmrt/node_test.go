package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Built once, by TestMain.
var (
	binary    string
	helloWasm []byte // a Go program over the SDK
	taskWasm  []byte // a Go command that obeys its arguments
	warmCache string // where both are compiled already
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "petrel-wasmrt-test-")
	if err == nil {
		err = buildAll(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func buildAll(dir string) error {
	binary = filepath.Join(dir, "petrel-wasmrt")
	if err := build(raceEnv, append(raceFlags, "-o", binary, ".")...); err != nil {
		return err
	}
	for _, g := range []struct {
		into *[]byte
		pkg  string
		args []string
	}{
		{&helloWasm, "github.com/petrelrun/petrel/examples/hello", []string{"-buildmode=c-shared"}},
		{&taskWasm, "github.com/petrelrun/petrel/test/guests/task", nil},
	} {
		out := filepath.Join(dir, "guest.wasm")
		if err := build([]string{"GOOS=wasip1", "GOARCH=wasm"}, append(g.args, "-ldflags=-s -w", "-o", out, g.pkg)...); err != nil {
			return err
		}
		var err error
		if *g.into, err = os.ReadFile(out); err != nil {
			return err
		}
		warmCache = filepath.Join(dir, "cache")
		if out, err := exec.Command(binary, "compile", "--cache-dir", warmCache, "--module", out).CombinedOutput(); err != nil {
			return fmt.Errorf("compile: %w\n%s", err, out)
		}
	}
	return nil
}

func build(env []string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-buildvcs=false"}, args...)...)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v: %w\n%s", args, err, out)
	}
	return nil
}

// node is a supervisor in a process of its own, and what is known of its runners.
type node struct {
	t      *testing.T
	root   string
	socket string
	flags  []string
	cmd    *exec.Cmd
	log    bytes.Buffer
	ended  chan struct{}
	conn   *grpc.ClientConn
	rt     runtimev1.RuntimeServiceClient
	img    runtimev1.ImageServiceClient
	reg    *ociRegistry
}

// newNode starts a node that has the Go modules' code already: compiling them in each test would take minutes.
func newNode(t *testing.T, flags ...string) *node {
	t.Helper()
	root := t.TempDir()
	warm(t, root)
	return newNodeAt(t, root, flags...)
}

// warm puts the tests' machine code into a root's cache, with its modes.
func warm(t *testing.T, root string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", warmCache, filepath.Join(root, "cache")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func newNodeAt(t *testing.T, root string, flags ...string) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, root: root, socket: filepath.Join(dir, "s"), reg: newRegistry(t)}
	n.flags = append(flags, "--registry-mirror", "registry.test="+n.reg.url)
	n.start()
	soon := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 100 * time.Millisecond}
	n.conn, err = grpc.NewClient("unix://"+n.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	n.rt, n.img = runtimev1.NewRuntimeServiceClient(n.conn), runtimev1.NewImageServiceClient(n.conn)
	t.Cleanup(func() {
		_ = n.conn.Close()
		n.kill()
		if out, err := exec.Command(binary, "stop", "--root", root, "--grace", "0s").CombinedOutput(); err != nil {
			t.Errorf("stop: %v\n%s", err, out)
		}
		wantNoGroups(t, root)
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("supervisor's log:\n%s", n.log.String())
		}
	})
	return n
}

// start starts the supervisor's process; the client connects to it again by itself.
func (n *node) start() {
	n.t.Helper()
	n.cmd = exec.Command(binary, append([]string{"serve", "--root", n.root, "--socket", n.socket, "--log-level", "debug"}, n.flags...)...)
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	ended := make(chan struct{})
	n.ended = ended
	cmd := n.cmd
	go func() { _ = cmd.Wait(); close(ended) }()
}

func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	<-n.ended
	n.awaitDisconnected()
}

// awaitDisconnected returns when the client knows that the supervisor is gone: a call that it sent to the old one would
// fail instead of waiting for the next.
func (n *node) awaitDisconnected() {
	if n.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for n.conn.GetState() == connectivity.Ready && n.conn.WaitForStateChange(ctx, connectivity.Ready) {
	}
}

// terminate ends the supervisor as an administrator would.
func (n *node) terminate() {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-n.ended:
	case <-time.After(60 * time.Second):
		n.t.Fatal("the supervisor does not end")
	}
	n.awaitDisconnected()
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Errorf("exit code %d", code)
	}
}

func (n *node) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // a module is compiled within it, on a busy machine
	n.t.Cleanup(cancel)
	return ctx
}

// runnerInfo is what the verbose status tells of a runner.
type nodeRunner struct {
	Namespace     string
	PID           int
	ResidentBytes uint64
	Containers    int
	Templates     int
	CPUNanos      int64
}

func (n *node) runners() map[string]nodeRunner {
	n.t.Helper()
	r, err := n.rt.Status(n.ctx(), &runtimev1.StatusRequest{Verbose: true})
	if err != nil {
		n.t.Fatal(err)
	}
	var d struct{ Runners []nodeRunner }
	if err := json.Unmarshal([]byte(r.Info["petrel"]), &d); err != nil {
		n.t.Fatal(err)
	}
	all := map[string]nodeRunner{}
	for _, r := range d.Runners {
		all[r.Namespace] = r
	}
	return all
}

// pod is a sandbox with the names that a test chose.
type pod struct {
	id     string
	ip     string
	config *runtimev1.PodSandboxConfig
}

var sequence atomic.Int64

// podConfig describes a pod of the namespace with an address that no other test uses.
func (n *node) podConfig(namespace string) *runtimev1.PodSandboxConfig {
	i := sequence.Add(1)
	return &runtimev1.PodSandboxConfig{
		Metadata:     &runtimev1.PodSandboxMetadata{Name: fmt.Sprintf("pod-%d", i), Namespace: namespace, Uid: fmt.Sprintf("uid-%d", i)},
		Hostname:     fmt.Sprintf("pod-%d", i),
		LogDirectory: filepath.Join(n.root, "logs", fmt.Sprint(i)),
		PortMappings: []*runtimev1.PortMapping{{ContainerPort: 8080}},
		Labels:       map[string]string{"n": fmt.Sprint(i)},
		Annotations:  map[string]string{"petrel.run/pod-ip": fmt.Sprintf("127.42.%d.%d", 220+i/250, i%250+1)},
	}
}

func (n *node) run(config *runtimev1.PodSandboxConfig) *pod {
	n.t.Helper()
	r, err := n.rt.RunPodSandbox(n.ctx(), &runtimev1.RunPodSandboxRequest{Config: config})
	if err != nil {
		n.t.Fatal(err)
	}
	return &pod{id: r.PodSandboxId, ip: config.Annotations["petrel.run/pod-ip"], config: config}
}

func (n *node) pull(ref string) string {
	n.t.Helper()
	r, err := n.img.PullImage(n.ctx(), &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: ref}})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.ImageRef
}

func containerConfig(name, image string, args ...string) *runtimev1.ContainerConfig {
	return &runtimev1.ContainerConfig{
		Metadata: &runtimev1.ContainerMetadata{Name: name}, Image: &runtimev1.ImageSpec{Image: image}, Args: args,
		LogPath: name + "/0.log", Labels: map[string]string{"name": name},
	}
}

func (n *node) create(p *pod, config *runtimev1.ContainerConfig) string {
	n.t.Helper()
	r, err := n.rt.CreateContainer(n.ctx(), &runtimev1.CreateContainerRequest{PodSandboxId: p.id, Config: config, SandboxConfig: p.config})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.ContainerId
}

func (n *node) launch(p *pod, config *runtimev1.ContainerConfig) string {
	n.t.Helper()
	id := n.create(p, config)
	if _, err := n.rt.StartContainer(n.ctx(), &runtimev1.StartContainerRequest{ContainerId: id}); err != nil {
		n.t.Fatal(err)
	}
	return id
}

func (n *node) status(id string) *runtimev1.ContainerStatus {
	n.t.Helper()
	r, err := n.rt.ContainerStatus(n.ctx(), &runtimev1.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.Status
}

// info is the verbose status's.
func (n *node) info(id string) (i struct {
	Digest, ImageDigest, Kind      string
	CompileMicros, ColdStartMicros int64
	CompileCached                  bool
}) {
	n.t.Helper()
	r, err := n.rt.ContainerStatus(n.ctx(), &runtimev1.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err == nil {
		err = json.Unmarshal([]byte(r.Info["petrel"]), &i)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return i
}

func (n *node) exited(id string) *runtimev1.ContainerStatus {
	n.t.Helper()
	var s *runtimev1.ContainerStatus
	eventually(n.t, "the container's end", func() bool {
		s = n.status(id)
		return s.State == runtimev1.ContainerState_CONTAINER_EXITED
	})
	return s
}

func (n *node) sandboxState(id string) runtimev1.PodSandboxState {
	n.t.Helper()
	r, err := n.rt.PodSandboxStatus(n.ctx(), &runtimev1.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.Status.State
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ask sends a request on a connection of its own.
func ask(p *pod, path string) (int, string, error) { return askURL("http://" + p.ip + ":8080" + path) }

func askURL(url string) (int, string, error) {
	client := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func (n *node) wantAnswer(p *pod, body string) {
	n.t.Helper()
	if code, got, err := ask(p, "/"); err != nil || code != http.StatusOK || !strings.HasPrefix(got, body) {
		n.t.Errorf("%s answers %d %q, %v; want %q", p.ip, code, got, err, body)
	}
}

// logOf reads a container's log without its times.
func (n *node) logOf(p *pod, name string) string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.config.LogDirectory, name, "0.log"))
	if err != nil {
		n.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(line, " ")
		out.WriteString(rest)
	}
	return out.String()
}
