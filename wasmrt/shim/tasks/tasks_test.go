package tasks

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestWhatIsAsked: what a bundle says reaches the runtime in its words.
func TestWhatIsAsked(t *testing.T) {
	w := newWorld(t)
	w.create()
	pod := w.runtime.sandboxes["pod1"]
	if m := pod.Metadata; m.Name != "pod" || m.Namespace != "team" || m.Uid != "box" || pod.Hostname != "pod" {
		t.Errorf("sandbox %v", pod)
	}
	if got := fmt.Sprint(pod.Annotations); got != "map[petrel.run/egress:dns petrel.run/netns:/run/netns/a]" {
		t.Errorf("sandbox's annotations %s: a pod must not choose its own namespace or address", got)
	}
	if pod.Labels[LabelOwner] != "me" || pod.Labels[LabelTask] != "box" {
		t.Errorf("labels %v", pod.Labels)
	}
	c := w.runtime.configs["guest2"]
	if c.Metadata.Name != "app" || fmt.Sprint(c.Command, c.Args) != "[/app.wasm] [-v]" || c.WorkingDir != "/srv" || c.Linux.Resources.MemoryLimitInBytes != 1<<20 {
		t.Errorf("container %v", c)
	}
	if len(c.Envs) != 1 || c.Envs[0].Key != "A" || string(c.Envs[0].Value) != "b=c" {
		t.Errorf("environment %v", c.Envs)
	}
	if len(c.Mounts) != 1 || c.Mounts[0].HostPath != "/d" || !c.Mounts[0].Readonly {
		t.Errorf("mounts %v", c.Mounts)
	}
	if c.Annotations[annotationPorts] != `[{"containerPort":80}]` || filepath.Join(pod.LogDirectory, c.LogPath) != filepath.Join(w.cfg.Dir, "app", "log") {
		t.Errorf("annotations %v, log %s", c.Annotations, c.LogPath)
	}
	if !slices.Equal(w.runtime.imported, []string{wasm}) || !strings.HasPrefix(c.Image.Image, repository) {
		t.Errorf("imported %q as %s", w.runtime.imported, c.Image.Image)
	}
	s, err := w.State(t.Context(), &taskapi.StateRequest{ID: "app"})
	if err != nil || s.Status != tasktypes.Status_CREATED || s.Pid != 4242 || s.Stdout == "" {
		t.Errorf("state %v, %v", s, err)
	}
}

func TestLife(t *testing.T) {
	w := newWorld(t)
	w.start()
	if s, err := w.State(t.Context(), &taskapi.StateRequest{ID: "app"}); err != nil || s.Status != tasktypes.Status_RUNNING {
		t.Errorf("state %v, %v", s, err)
	}
	if _, err := w.Delete(t.Context(), &taskapi.DeleteRequest{ID: "app"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("delete what runs: %v", err)
	}
	w.kill("app", unix.SIGWINCH) // nothing ends by it
	w.kill("app", unix.SIGTERM)
	if code := w.wait("app"); code != exitKilled {
		t.Errorf("exit %d", code)
	}
	if r := w.remove("app"); r.ExitStatus != exitKilled || r.ExitedAt.AsTime().Unix() != 5 {
		t.Errorf("deleted %v", r)
	}
	w.kill("box", unix.SIGKILL)
	if code := w.wait("box"); code != exitKilled || !w.runtime.stopped["pod1"] {
		t.Errorf("sandbox's exit %d, stopped %v", code, w.runtime.stopped)
	}
	w.remove("box")
	want := "[/tasks/create /tasks/create /tasks/start /tasks/start /tasks/exit /tasks/delete /tasks/exit /tasks/delete]"
	if got := fmt.Sprint(w.told()); got != want {
		t.Errorf("events %s\nwant   %s", got, want)
	}
	if err := w.runtime.empty(); err != nil || w.Len() != 0 {
		t.Error(err, w.Len())
	}
	if got := fmt.Sprint(w.runtime.stops); got != fmt.Sprintf("[%d]", int(politeGrace.Seconds())) {
		t.Errorf("stops %s", got)
	}
	if left, err := os.ReadDir(w.cfg.Dir); err != nil || len(left) > 0 {
		t.Errorf("pipes are left: %v, %v", left, err)
	}
}

// TestImpatience: SIGKILL ends a guest that takes its time after SIGTERM.
func TestImpatience(t *testing.T) {
	w := newWorld(t)
	w.runtime.stubborn = true
	w.start()
	w.kill("app", unix.SIGTERM)
	w.kill("app", unix.SIGKILL)
	if code := w.wait("app"); code != exitKilled {
		t.Errorf("exit %d", code)
	}
	if _, err := w.Kill(t.Context(), &taskapi.KillRequest{ID: "app", Signal: 9}); status.Code(err) != codes.NotFound {
		t.Errorf("kill what has ended: %v", err)
	}
}

// TestStopOutlastsTheRuntime: who stops a task while the runtime is away sees it end when that is back.
func TestStopOutlastsTheRuntime(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.runtime.mu.Lock()
	w.runtime.away = 3
	w.runtime.mu.Unlock()
	w.kill("app", unix.SIGKILL)
	if code := w.wait("app"); code != exitKilled {
		t.Errorf("exit %d", code)
	}
}

// TestEvents: what the runtime tells ends tasks.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.runtime.mu.Lock()
	c := w.runtime.containers["guest2"]
	w.runtime.exit(c, 137, reasonOOM)
	w.runtime.mu.Unlock()
	e := &runtimev1.ContainerEventResponse{PodSandboxStatus: &runtimev1.PodSandboxStatus{Id: "pod1"}, ContainersStatuses: []*runtimev1.ContainerStatus{c}}
	w.Follow(e)
	w.Follow(e)
	if code := w.wait("app"); code != 137 {
		t.Errorf("exit %d", code)
	}
	if got := w.told(); fmt.Sprint(got[4:]) != "[/tasks/oom /tasks/exit]" {
		t.Errorf("events %v", got)
	}
	e.PodSandboxStatus.State = runtimev1.PodSandboxState_SANDBOX_NOTREADY
	w.Follow(e)
	if code := w.wait("box"); code != exitKilled {
		t.Errorf("lost sandbox's exit %d", code)
	}
}

// TestResync: what was missed while the runtime was away is found.
func TestResync(t *testing.T) {
	for name, tt := range map[string]struct {
		change   func(f *fakeRuntime)
		app, box bool // ended
	}{
		"nothing happened": {func(*fakeRuntime) {}, false, false},
		"exited":           {func(f *fakeRuntime) { f.exit(f.containers["guest2"], 3, "") }, true, false},
		"forgotten":        {func(f *fakeRuntime) { delete(f.containers, "guest2") }, true, false},
		"sandbox lost":     {func(f *fakeRuntime) { f.stopped["pod1"] = true; f.exit(f.containers["guest2"], 137, "") }, true, true},
		"all forgotten":    {func(f *fakeRuntime) { clear(f.containers); clear(f.sandboxes) }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			tt.change(w.runtime)
			if err := w.Resync(t.Context()); err != nil {
				t.Fatal(err)
			}
			for id, want := range map[string]bool{"app": tt.app, "box": tt.box} {
				task, err := w.find(id)
				if err != nil || (task.now() == phaseStopped) != want {
					t.Errorf("%s ended: %v, want %v", id, task.now() == phaseStopped, want)
				}
			}
		})
	}
	w := newWorld(t)
	w.start()
	w.runtime.fail["ListPodSandbox"] = status.Error(codes.Unavailable, "away")
	if err := w.Resync(t.Context()); err == nil {
		t.Error("a runtime that is away is taken for empty")
	}
}

// TestNeverStarted: containerd kills and deletes what it could not start.
func TestNeverStarted(t *testing.T) {
	w := newWorld(t)
	w.create()
	w.runtime.fail["StartContainer"] = status.Error(codes.Unknown, "it cannot be")
	if _, err := w.Start(t.Context(), &taskapi.StartRequest{ID: "app"}); status.Code(err) != codes.Unknown || !strings.Contains(err.Error(), "it cannot be") {
		t.Errorf("start: %v", err)
	}
	w.kill("app", unix.SIGKILL)
	if code := w.wait("app"); code != exitKilled {
		t.Errorf("exit %d", code)
	}
	w.remove("app")
	w.remove("box") // not even killed
	if err := w.runtime.empty(); err != nil || w.Len() != 0 {
		t.Error(err, w.Len())
	}
}

// TestSandboxTakesItsContainers: containers whose sandbox is killed or deleted end with it.
func TestSandboxTakesItsContainers(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.kill("box", unix.SIGKILL)
	if code := w.wait("app"); code != exitKilled {
		t.Errorf("exit %d", code)
	}
	w.wait("box")
	w.remove("box")
	w.remove("app")
	if w.Len() != 0 {
		t.Error("tasks are left")
	}
}
