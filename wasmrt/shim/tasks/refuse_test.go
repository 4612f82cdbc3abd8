package tasks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2/stats"
	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestNothingIsLeft: a task that cannot be made leaves nothing, and can be made when it can.
func TestNothingIsLeft(t *testing.T) {
	away := status.Error(codes.Unavailable, "away")
	for name, tt := range map[string]struct {
		break_ func(w *world, r *taskapi.CreateTaskRequest)
		code   codes.Code
		says   string
	}{
		"runtime refuses": {func(w *world, _ *taskapi.CreateTaskRequest) { w.runtime.fail["CreateContainer"] = away }, codes.Unavailable, "create container: away"},
		"import fails":    {func(w *world, _ *taskapi.CreateTaskRequest) { w.runtime.fail["PullImage"] = away }, codes.Unavailable, "import module: away"},
		"store fails":     {func(w *world, _ *taskapi.CreateTaskRequest) { w.runtime.fail["ImageStatus"] = away }, codes.Unavailable, "away"},
		"no module": {func(_ *world, r *taskapi.CreateTaskRequest) {
			_ = os.Remove(filepath.Join(r.Bundle, "rootfs", "app.wasm"))
		}, codes.InvalidArgument, "no artifact"},
		"no root":           {func(_ *world, r *taskapi.CreateTaskRequest) { _ = os.RemoveAll(filepath.Join(r.Bundle, "rootfs")) }, codes.InvalidArgument, "root file system"},
		"no bundle":         {func(_ *world, r *taskapi.CreateTaskRequest) { _ = os.RemoveAll(r.Bundle) }, codes.InvalidArgument, "bundle"},
		"terminal":          {func(_ *world, r *taskapi.CreateTaskRequest) { r.Terminal = true }, codes.InvalidArgument, "terminal"},
		"checkpoint":        {func(_ *world, r *taskapi.CreateTaskRequest) { r.Checkpoint = "x" }, codes.Unimplemented, "checkpoint"},
		"output elsewhere":  {func(_ *world, r *taskapi.CreateTaskRequest) { r.Stdout = "tcp://1.2.3.4" }, codes.Internal, "tcp"},
		"the same id again": {func(_ *world, r *taskapi.CreateTaskRequest) { r.ID = "box" }, codes.AlreadyExists, "box"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(w.Create(t.Context(), w.bundle("box", sandboxConfig(), nil)))
			r := w.bundle("app", memberConfig("box"), map[string]string{"app.wasm": wasm})
			tt.break_(w, r)
			_, err := w.Create(t.Context(), r)
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %s, %q", err, tt.code, tt.says)
			}
			if len(w.runtime.containers) > 0 || len(w.runtime.sandboxes) != 1 || w.Len() != 1 || len(w.modules.uses) > 0 {
				t.Errorf("left: %d containers, %d sandboxes, %d tasks, modules %v", len(w.runtime.containers), len(w.runtime.sandboxes), w.Len(), w.modules.uses)
			}
			if left, _ := os.ReadDir(w.cfg.Dir); len(left) > 0 {
				t.Errorf("pipes are left: %v", left)
			}
			clear(w.runtime.fail)
			if _, err := w.Create(t.Context(), w.bundle("again", memberConfig("box"), map[string]string{"app.wasm": wasm})); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestSandboxIsRequired(t *testing.T) {
	w := newWorld(t)
	w.create()
	for _, sandbox := range []string{"none", "app"} {
		if _, err := w.Create(t.Context(), w.bundle("in-"+sandbox, memberConfig(sandbox), map[string]string{"app.wasm": wasm})); status.Code(err) != codes.NotFound {
			t.Errorf("in %s: %v", sandbox, err)
		}
	}
}

// TestAlone: what ctr runs is a pod of its own, in the host's network.
func TestAlone(t *testing.T) {
	w := newWorld(t)
	config := map[string]any{"process": map[string]any{"args": []string{"app.wasm"}, "cwd": "/"}}
	w.must(w.Create(t.Context(), w.bundle("one", config, map[string]string{"app.wasm": wasm})))
	if m := w.runtime.sandboxes["pod1"]; m.Metadata.Namespace != "ns" || m.Metadata.Name != "one" || !strings.HasPrefix(m.Annotations[annotationNetns], "/proc/") {
		t.Errorf("sandbox %v", m)
	}
	w.must(w.Start(t.Context(), &taskapi.StartRequest{ID: "one"}))
	w.kill("one", unix.SIGKILL)
	w.wait("one")
	w.remove("one")
	if err := w.runtime.empty(); err != nil {
		t.Error(err)
	}
	config["linux"] = map[string]any{"namespaces": []map[string]string{{"type": "network"}}}
	if _, err := w.Create(t.Context(), w.bundle("two", config, map[string]string{"app.wasm": wasm})); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "--net-host") {
		t.Errorf("without a network: %v", err)
	}
}

// TestArtifact: the module of an image without a root file system comes from containerd's store.
func TestArtifact(t *testing.T) {
	w := newWorld(t)
	w.artifact = filepath.Join(w.base, "artifact")
	if err := os.WriteFile(w.artifact, []byte(wasm+"artifact"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must(w.Create(t.Context(), w.bundle("box", sandboxConfig(), nil)))
	w.must(w.Create(t.Context(), w.bundle("app", memberConfig("box"), nil)))
	if len(w.runtime.imported) != 1 || w.runtime.imported[0] != wasm+"artifact" {
		t.Errorf("imported %q", w.runtime.imported)
	}
}

// TestModulesGo when nobody has used them for long, and are imported once before.
func TestModulesGo(t *testing.T) {
	w := newWorld(t)
	w.create()
	w.must(w.Create(t.Context(), w.bundle("more", memberConfig("box"), map[string]string{"app.wasm": wasm})))
	w.runtime.images["elsewhere.test/other:v1"] = true
	w.runtime.images[repository+"ofanother"] = true
	if len(w.runtime.imported) != 1 {
		t.Errorf("imported %d times", len(w.runtime.imported))
	}
	sweep := func(want int) {
		t.Helper()
		if err := w.Sweep(t.Context()); err != nil || len(w.runtime.images) != want {
			t.Errorf("%d images are left, want %d: %v", len(w.runtime.images), want, err)
		}
	}
	sweep(3)
	w.pass(2 * unusedFor)
	sweep(2) // that of a service that is not any more
	w.remove("app")
	w.pass(2 * unusedFor)
	sweep(2)
	w.remove("more")
	sweep(2)
	w.pass(unusedFor)
	sweep(1)
	w.runtime.fail["ListContainers"] = errors.New("away")
	if err := w.Sweep(t.Context()); err == nil {
		t.Error("the error is lost")
	}
}

func TestQueries(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := t.Context()
	if r, err := w.Pids(ctx, &taskapi.PidsRequest{ID: "app"}); err != nil || len(r.Processes) != 1 || r.Processes[0].Pid != 4242 {
		t.Errorf("pids %v, %v", r, err)
	}
	if r, err := w.Connect(ctx, &taskapi.ConnectRequest{ID: "app"}); err != nil || r.ShimPid != uint32(os.Getpid()) || r.TaskPid != 4242 {
		t.Errorf("connect %v, %v", r, err)
	}
	r, err := w.Stats(ctx, &taskapi.StatsRequest{ID: "app"})
	var m stats.Metrics
	if err != nil || r.Stats.TypeUrl != "io.containerd.cgroups.v2.Metrics" || proto.Unmarshal(r.Stats.Value, &m) != nil || m.CPU.UsageUsec != 3000 || m.Memory.Usage != 4096 {
		t.Errorf("stats %v, %v", r, err)
	}
	for raw, code := range map[string]codes.Code{`{"memory":{"limit":2048}}`: codes.OK, `{}`: codes.OK, `{`: codes.InvalidArgument} {
		if _, err := w.Update(ctx, &taskapi.UpdateTaskRequest{ID: "app", Resources: &anypb.Any{Value: []byte(raw)}}); status.Code(err) != code {
			t.Errorf("update %s: %v", raw, err)
		}
	}
	if w.runtime.updated != 2048 {
		t.Errorf("limit %d", w.runtime.updated)
	}
	ended, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if _, err := w.Wait(ended, &taskapi.WaitRequest{ID: "app"}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("wait: %v", err)
	}
}

// TestCodes is what calls answer to what is not there.
func TestCodes(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := t.Context()
	for name, tt := range map[string]struct {
		call func() error
		want codes.Code
	}{
		"start again":   {func() error { _, err := w.Start(ctx, &taskapi.StartRequest{ID: "app"}); return err }, codes.FailedPrecondition},
		"start none":    {func() error { _, err := w.Start(ctx, &taskapi.StartRequest{ID: "x"}); return err }, codes.NotFound},
		"start an exec": {func() error { _, err := w.Start(ctx, &taskapi.StartRequest{ID: "app", ExecID: "e"}); return err }, codes.NotFound},
		"kill none":     {func() error { _, err := w.Kill(ctx, &taskapi.KillRequest{ID: "x"}); return err }, codes.NotFound},
		"kill an exec":  {func() error { _, err := w.Kill(ctx, &taskapi.KillRequest{ID: "app", ExecID: "e"}); return err }, codes.NotFound},
		"stop signal":   {func() error { _, err := w.Kill(ctx, &taskapi.KillRequest{ID: "app", Signal: 19}); return err }, codes.Unimplemented},
		"state of none": {func() error { _, err := w.State(ctx, &taskapi.StateRequest{ID: "x"}); return err }, codes.NotFound},
		"delete none":   {func() error { _, err := w.Delete(ctx, &taskapi.DeleteRequest{ID: "x"}); return err }, codes.NotFound},
		"wait for none": {func() error { _, err := w.Wait(ctx, &taskapi.WaitRequest{ID: "x"}); return err }, codes.NotFound},
		"pids of none":  {func() error { _, err := w.Pids(ctx, &taskapi.PidsRequest{ID: "x"}); return err }, codes.NotFound},
		"stats of none": {func() error { _, err := w.Stats(ctx, &taskapi.StatsRequest{ID: "x"}); return err }, codes.NotFound},
		"update none":   {func() error { _, err := w.Update(ctx, &taskapi.UpdateTaskRequest{ID: "x"}); return err }, codes.NotFound},
		"connect none":  {func() error { _, err := w.Connect(ctx, &taskapi.ConnectRequest{ID: "x"}); return err }, codes.NotFound},
		"close none":    {func() error { _, err := w.CloseIO(ctx, &taskapi.CloseIORequest{ID: "x"}); return err }, codes.NotFound},
		"pause":         {func() error { _, err := w.Pause(ctx, nil); return err }, codes.Unimplemented},
		"resume":        {func() error { _, err := w.Resume(ctx, nil); return err }, codes.Unimplemented},
		"checkpoint":    {func() error { _, err := w.Checkpoint(ctx, nil); return err }, codes.Unimplemented},
		"resize":        {func() error { _, err := w.ResizePty(ctx, nil); return err }, codes.Unimplemented},
		"shutdown":      {func() error { _, err := w.Shutdown(ctx, nil); return err }, codes.OK},
	} {
		if err := tt.call(); status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	w.Close()
	if _, err := w.Wait(ctx, &taskapi.WaitRequest{ID: "app"}); status.Code(err) != codes.Unavailable {
		t.Errorf("wait for a service that ends: %v", err)
	}
}

func TestValidate(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("nothing is enough")
	}
}
