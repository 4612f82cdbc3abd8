package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
)

// TestSupervisorIsKilled: pods answer while there is no supervisor, and the next one knows what happened meanwhile.
func TestSupervisorIsKilled(t *testing.T) {
	n := newNode(t)
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	task, _ := n.reg.push("x/task", taskWasm)
	n.pull(server)
	n.pull(task)
	web, jobs := n.run(n.podConfig("default")), n.run(n.podConfig("default"))
	stopped := n.run(n.podConfig("default"))
	webID := n.launch(web, containerConfig("web", server))
	failing := n.launch(jobs, containerConfig("failing", task, "sleep", "700", "print", "late", "exit", "7"))
	looping := n.launch(jobs, containerConfig("looping", task, "spin", ""))
	created := n.create(jobs, containerConfig("created", task, "exit", "3"))
	ended := n.launch(jobs, containerConfig("ended", task, "exit", "4"))
	n.exited(ended)
	if _, err := n.rt.StopPodSandbox(n.ctx(), &runtimev1.StopPodSandboxRequest{PodSandboxId: stopped.id}); err != nil {
		t.Fatal(err)
	}
	infoBefore, statusBefore, runnersBefore := n.info(webID), n.status(webID), n.runners()

	n.kill()
	eventually(t, "the command's end without a supervisor", func() bool {
		b, err := os.ReadFile(filepath.Join(jobs.config.LogDirectory, "failing", "0.log"))
		return err == nil && strings.Contains(string(b), "late")
	})
	n.wantAnswer(web, "hello")
	n.start()

	n.wantAnswer(web, "hello")
	if after := n.runners(); after["default"].PID != runnersBefore["default"].PID || after["default"].Containers != runnersBefore["default"].Containers {
		t.Errorf("runners %+v, before %+v", after, runnersBefore)
	}
	if s := n.status(webID); s.State != runtimev1.ContainerState_CONTAINER_RUNNING || s.StartedAt != statusBefore.StartedAt || s.ImageRef != statusBefore.ImageRef || s.Labels["name"] != "web" {
		t.Errorf("web: %+v, before %+v", s, statusBefore)
	}
	if got := n.info(webID); got != infoBefore {
		t.Errorf("info %+v, before %+v", got, infoBefore)
	}
	if s := n.exited(failing); s.ExitCode != 7 || s.Reason != "Error" || s.FinishedAt <= s.StartedAt {
		t.Errorf("failing: %+v", s)
	}
	if s := n.status(ended); s.ExitCode != 4 {
		t.Errorf("ended: %+v", s)
	}
	if s := n.status(looping); s.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Errorf("looping: %+v", s)
	}
	if n.sandboxState(web.id) != runtimev1.PodSandboxState_SANDBOX_READY || n.sandboxState(stopped.id) != runtimev1.PodSandboxState_SANDBOX_NOTREADY {
		t.Error("the sandboxes' states did not survive")
	}
	// What was adopted is fully in hand.
	if _, err := n.rt.StartContainer(n.ctx(), &runtimev1.StartContainerRequest{ContainerId: created}); err != nil {
		t.Error(err)
	}
	if s := n.exited(created); s.ExitCode != 3 {
		t.Errorf("created: %+v", s)
	}
	if _, err := n.rt.StopContainer(n.ctx(), &runtimev1.StopContainerRequest{ContainerId: looping}); err != nil {
		t.Error(err)
	}
	if s := n.status(looping); s.ExitCode != 137 {
		t.Errorf("looping: %+v", s)
	}
	if _, err := n.rt.RunPodSandbox(n.ctx(), &runtimev1.RunPodSandboxRequest{Config: web.config}); err == nil {
		t.Error("the name of an adopted sandbox was given again")
	}
	n.launch(n.run(n.podConfig("default")), containerConfig("web", server)) // the image is still there
}

// TestRunnerIsKilled: its own namespace's pods are marked at once, the other's do not notice, and a new one can start.
func TestRunnerIsKilled(t *testing.T) {
	n := newNode(t)
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	n.pull(server)
	victim, other := n.run(n.podConfig("victim")), n.run(n.podConfig("other"))
	victimID, otherID := n.launch(victim, containerConfig("web", server)), n.launch(other, containerConfig("web", server))
	waiting := n.create(victim, containerConfig("waiting", server))

	ctx, cancel := context.WithCancel(n.ctx())
	defer cancel()
	events, err := n.rt.GetContainerEvents(ctx, &runtimev1.GetEventsRequest{})
	if err == nil {
		_, err = events.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	runners := n.runners()
	begin := time.Now()
	if err := syscall.Kill(runners["victim"].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	stopped := map[string]bool{}
	for len(stopped) < 3 {
		e, err := events.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e.ContainerEventType == runtimev1.ContainerEventType_CONTAINER_STOPPED_EVENT {
			stopped[e.ContainerId] = true
		}
	}
	t.Logf("death told after %v", time.Since(begin))
	if !stopped[victimID] || !stopped[waiting] || !stopped[victim.id] {
		t.Errorf("stopped were %v", stopped)
	}
	for _, id := range []string{victimID, waiting} {
		s := n.status(id)
		if s.State != runtimev1.ContainerState_CONTAINER_EXITED || s.ExitCode != 137 || s.Reason != "Error" || !strings.Contains(s.Message, "runner died") {
			t.Errorf("container of the dead runner: %+v", s)
		}
	}
	if n.sandboxState(victim.id) != runtimev1.PodSandboxState_SANDBOX_NOTREADY || n.sandboxState(other.id) != runtimev1.PodSandboxState_SANDBOX_READY {
		t.Error("the sandboxes' states are wrong")
	}
	n.wantAnswer(other, "hello")
	if s := n.status(otherID); s.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the neighbour: %+v", s)
	}
	// The pod comes again, at the same address, in a new runner.
	for _, id := range []string{victim.id, victim.id} {
		if _, err := n.rt.StopPodSandbox(n.ctx(), &runtimev1.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
			t.Error(err)
		}
	}
	victim.config.Metadata.Attempt++
	again := n.run(victim.config)
	n.launch(again, containerConfig("web", server))
	n.wantAnswer(again, "hello")
	if after := n.runners(); after["victim"].PID == runners["victim"].PID || after["other"].PID != runners["other"].PID {
		t.Errorf("runners %+v, before %+v", after, runners)
	}
	if _, err := n.rt.RemovePodSandbox(n.ctx(), &runtimev1.RemovePodSandboxRequest{PodSandboxId: victim.id}); err != nil {
		t.Error(err)
	}
}

// TestBothAreKilled: what nobody saw end is told to have ended.
func TestBothAreKilled(t *testing.T) {
	n := newNode(t)
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	n.pull(server)
	lost, kept := n.run(n.podConfig("lost")), n.run(n.podConfig("kept"))
	lostID, keptID := n.launch(lost, containerConfig("web", server)), n.launch(kept, containerConfig("web", server))
	runners := n.runners()
	n.kill()
	if err := syscall.Kill(runners["lost"].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.start()
	if s := n.status(lostID); s.State != runtimev1.ContainerState_CONTAINER_EXITED || s.ExitCode != 137 || !strings.Contains(s.Message, "runner died") {
		t.Errorf("lost: %+v", s)
	}
	if n.sandboxState(lost.id) != runtimev1.PodSandboxState_SANDBOX_NOTREADY {
		t.Error("the lost sandbox is ready")
	}
	if s := n.status(keptID); s.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Errorf("kept: %+v", s)
	}
	n.wantAnswer(kept, "hello")
	if _, err := n.rt.RemovePodSandbox(n.ctx(), &runtimev1.RemovePodSandboxRequest{PodSandboxId: lost.id}); err != nil {
		t.Error(err)
	}
}

// TestKilledAtAnyTime kills the supervisor while pods come and go, and counts afterwards.
func TestKilledAtAnyTime(t *testing.T) {
	n := newNode(t)
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	n.pull(server)
	steady := n.run(n.podConfig("default"))
	n.launch(steady, containerConfig("web", server))
	for round := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { churn(ctx, n, server) })
		}
		time.Sleep(time.Duration(30+40*round) * time.Millisecond)
		n.kill()
		cancel()
		wg.Wait()
		n.start()
		n.wantAnswer(steady, "hello")
	}
	// Everything that is listed can be asked and removed, and nothing is left behind.
	list, err := n.rt.ListPodSandbox(n.ctx(), &runtimev1.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.Id == steady.id {
			continue
		}
		if _, err := n.rt.RemovePodSandbox(n.ctx(), &runtimev1.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			t.Error(err)
		}
	}
	if got := n.runners()["default"].Containers; got != 1 {
		t.Errorf("the runner has %d containers, want the steady one", got)
	}
	n.terminate()
	store := state.New(n.root)
	release, err := store.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if left, err := store.Load(); err != nil || len(left.Sandboxes) != 1 || len(left.Containers) != 1 || len(left.Dropped) > 0 {
		t.Errorf("records that are left: %+v, %v", left, err)
	}
}

// churn makes and removes pods until ctx ends. Errors are what killing is about.
func churn(ctx context.Context, n *node, image string) {
	for ctx.Err() == nil {
		config := n.podConfig("default")
		delete(config.Annotations, "petrel.run/pod-ip")
		p, err := n.rt.RunPodSandbox(ctx, &runtimev1.RunPodSandboxRequest{Config: config})
		if err != nil {
			continue
		}
		c, err := n.rt.CreateContainer(ctx, &runtimev1.CreateContainerRequest{PodSandboxId: p.PodSandboxId, Config: containerConfig("web", image)})
		if err == nil {
			_, _ = n.rt.StartContainer(ctx, &runtimev1.StartContainerRequest{ContainerId: c.ContainerId})
		}
		_, _ = n.rt.RemovePodSandbox(ctx, &runtimev1.RemovePodSandboxRequest{PodSandboxId: p.PodSandboxId})
	}
}

func TestTerminateLeavesPodsRunning(t *testing.T) {
	n := newNode(t)
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	n.pull(server)
	p := n.run(n.podConfig("default"))
	id := n.launch(p, containerConfig("web", server))
	pid := n.runners()["default"].PID
	n.terminate()
	n.wantAnswer(p, "hello")
	n.start()
	if s := n.status(id); s.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Errorf("status %+v", s)
	}
	if out, err := exec.Command(binary, "stop", "--root", n.root).CombinedOutput(); err == nil || !strings.Contains(string(out), "another supervisor serves") {
		t.Errorf("stop beside a supervisor: %v %s", err, out)
	}
	n.terminate()
	if out, err := exec.Command(binary, "stop", "--root", n.root).CombinedOutput(); err != nil {
		t.Errorf("stop: %v %s", err, out)
	}
	if _, _, err := ask(p, "/"); err == nil {
		t.Error("it answers after stop")
	}
	awaitGone(t, pid)
	n.start()
	if s := n.status(id); s.State != runtimev1.ContainerState_CONTAINER_EXITED {
		t.Errorf("status %+v", s)
	}
}

func TestStopRunnersOnExit(t *testing.T) {
	n := newNode(t, "--stop-runners-on-exit")
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "begun\n", 300*time.Millisecond))
	task, _ := n.reg.push("x/task", taskWasm)
	n.pull(server)
	n.pull(task)
	p := n.run(n.podConfig("default"))
	web, loop := n.launch(p, containerConfig("web", server)), n.launch(p, containerConfig("loop", task, "spin", ""))
	pid := n.runners()["default"].PID
	answered := make(chan string, 1)
	go func() {
		code, body, err := ask(p, "/")
		answered <- fmt.Sprint(code, body, err)
	}()
	eventually(t, "the request's begin", func() bool {
		b, err := os.ReadFile(filepath.Join(p.config.LogDirectory, "web", "0.log"))
		return err == nil && strings.Contains(string(b), "begun")
	})
	n.terminate()
	if got := <-answered; got != fmt.Sprint(http.StatusOK, "hello", nil) {
		t.Errorf("the request that ran was answered %s", got)
	}
	awaitGone(t, pid)
	n.start()
	if s := n.status(web); s.State != runtimev1.ContainerState_CONTAINER_EXITED || s.ExitCode != 0 {
		t.Errorf("web: %+v", s)
	}
	if s := n.status(loop); s.State != runtimev1.ContainerState_CONTAINER_EXITED || s.ExitCode != 137 {
		t.Errorf("loop: %+v", s)
	}
	if n.sandboxState(p.id) != runtimev1.PodSandboxState_SANDBOX_NOTREADY {
		t.Error("the sandbox is ready")
	}
	if _, err := os.Stat(filepath.Join(n.root, "runners", "default")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "the runner's end", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--version"}, 0, "petrel-wasmrt"},
		{[]string{"serve"}, 1, "required flag"},
		{[]string{"serve", "--socket", "/x/s", "--root", t.TempDir(), "--registry-mirror", "x"}, 2, "host=http://"},
		{[]string{"serve", "--socket", "/x/s", "--root", t.TempDir(), "--log-level", "loud"}, 2, "log level"},
		{[]string{"serve", "--socket", "/x/s", "--root", t.TempDir(), "--pod-cidr", "x"}, 2, "pod CIDR"},
		{[]string{"serve", "--bogus"}, 2, "bogus"},
		{[]string{"stop", "--root", t.TempDir(), "x"}, 2, "unknown"},
		{[]string{"runner", "--namespace", "x"}, 1, "listener"},
		{[]string{"compile", "--module", "/nowhere"}, 1, "read module"},
		{[]string{"dance"}, 1, "unknown command"},
	} {
		out, err := exec.Command(binary, tt.args...).CombinedOutput()
		code := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != tt.code || !strings.Contains(string(out), tt.says) {
			t.Errorf("%v: exit %d, %s; want %d and %q", tt.args, code, out, tt.code, tt.says)
		}
	}
}
