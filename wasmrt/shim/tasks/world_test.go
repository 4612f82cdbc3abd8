package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a service over a fake runtime.
type world struct {
	*Service
	t       *testing.T
	runtime *fakeRuntime
	base    string

	mu       sync.Mutex
	topics   []string
	clock    time.Time
	artifact string // of every container that asks
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, runtime: newFakeRuntime(), base: t.TempDir(), clock: time.Unix(100, 0)}
	var err error
	w.Service, err = New(Config{Runtime: w.runtime, Images: w.runtime, Artifacts: w, Owner: "me", Namespace: "ns", Dir: filepath.Join(w.base, "io"),
		Logger: slog.New(slog.DiscardHandler), Now: w.now,
		Publish: func(topic string, _ proto.Message) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.topics = append(w.topics, topic)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		for _, task := range w.all() {
			if task.relay != nil {
				_ = task.relay.Close()
			}
		}
	})
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

func (w *world) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string{}, w.topics...)
}

func (w *world) Open(context.Context, string) (*os.File, error) {
	if w.artifact == "" {
		return nil, errors.New("no artifact")
	}
	return os.Open(w.artifact)
}

const wasm = "\x00asm\x01\x00\x00\x00"

// bundle writes a bundle of a configuration, with a module in its root file system.
func (w *world) bundle(id string, config map[string]any, files map[string]string) *taskapi.CreateTaskRequest {
	w.t.Helper()
	dir := filepath.Join(w.base, "bundles", id)
	raw, err := json.Marshal(config)
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "rootfs"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600)
	}
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "rootfs", name), []byte(content), 0o600))
	}
	r := &taskapi.CreateTaskRequest{ID: id, Bundle: dir}
	for _, s := range []struct {
		name string
		into *string
	}{{"stdout", &r.Stdout}, {"stderr", &r.Stderr}} {
		*s.into = filepath.Join(dir, s.name)
		err = errors.Join(err, unix.Mkfifo(*s.into, 0o600))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func sandboxConfig() map[string]any {
	return map[string]any{"hostname": "pod", "annotations": map[string]string{
		"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-name": "pod", "io.kubernetes.cri.sandbox-namespace": "team",
		"petrel.run/egress": "dns", "petrel.run/netns": "/proc/1/ns/net", "petrel.run/pod-ip": "127.0.0.1", "other": "x"},
		"linux": map[string]any{"namespaces": []map[string]string{{"type": "network", "path": "/run/netns/../netns/a"}}}}
}

func memberConfig(sandbox string) map[string]any {
	return map[string]any{"process": map[string]any{"args": []string{"/app.wasm", "-v"}, "env": []string{"A=b=c", "=x", "none"}, "cwd": "/srv"},
		"annotations": map[string]string{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": sandbox,
			"io.kubernetes.cri.container-name": "app", "io.kubernetes.container.ports": `[{"containerPort":80}]`},
		"mounts": []map[string]any{{"destination": "/data", "source": "/d", "options": []string{"rbind", "ro"}}, {"destination": "/etc/hosts", "source": "/h", "options": []string{"bind"}}},
		"linux":  map[string]any{"resources": map[string]any{"memory": map[string]any{"limit": 1 << 20}}}}
}

// create makes the tasks of a pod with one container.
func (w *world) create() {
	w.t.Helper()
	w.must(w.Create(w.t.Context(), w.bundle("box", sandboxConfig(), nil)))
	w.must(w.Create(w.t.Context(), w.bundle("app", memberConfig("box"), map[string]string{"app.wasm": wasm})))
}

func (w *world) must(_ any, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// start starts both.
func (w *world) start() {
	w.t.Helper()
	w.create()
	for _, id := range []string{"box", "app"} {
		w.must(w.Start(w.t.Context(), &taskapi.StartRequest{ID: id}))
	}
}

// wait answers how a task ended.
func (w *world) wait(id string) uint32 {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	r, err := w.Wait(ctx, &taskapi.WaitRequest{ID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.ExitStatus
}

func (w *world) kill(id string, signal unix.Signal) {
	w.t.Helper()
	w.must(w.Kill(w.t.Context(), &taskapi.KillRequest{ID: id, Signal: uint32(signal)}))
}

func (w *world) remove(id string) *taskapi.DeleteResponse {
	w.t.Helper()
	r, err := w.Delete(w.t.Context(), &taskapi.DeleteRequest{ID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}
