package tasks

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// exec asks for a process with pipes of its own, and answers what comes out of them.
func (w *world) exec(id, spec string) (stdout, stderr <-chan string, err error) {
	w.t.Helper()
	r := &taskapi.ExecProcessRequest{ID: "app", ExecID: id, Spec: &anypb.Any{Value: []byte(spec)}}
	var ends [2]<-chan string
	for i, into := range []*string{&r.Stdout, &r.Stderr} {
		*into = filepath.Join(w.t.TempDir(), "pipe")
		if err := unix.Mkfifo(*into, 0o600); err != nil {
			w.t.Fatal(err)
		}
		f, err := os.OpenFile(*into, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		hold, err := os.OpenFile(*into, os.O_WRONLY, 0) // until the process has ended there is no end of file
		if err != nil {
			w.t.Fatal(err)
		}
		got := make(chan string, 1)
		w.t.Cleanup(func() { _ = f.Close() })
		ends[i] = got
		go func() {
			w.processEnds(id)
			_ = hold.Close()
			raw, _ := io.ReadAll(f)
			got <- string(raw)
		}()
	}
	_, err = w.Exec(w.t.Context(), r)
	return ends[0], ends[1], err
}

// processEnds waits until a process has ended, or is none.
func (w *world) processEnds(id string) {
	for {
		task, err := w.find("app")
		if err != nil {
			return
		}
		if p, err := task.process(id); err == nil {
			select {
			case <-p.exited:
			case <-w.ctx.Done():
			}
			return
		}
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := t.Context()
	stdout, stderr, err := w.exec("e", `{"args":["check","-v"]}`)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := w.State(ctx, &taskapi.StateRequest{ID: "app", ExecID: "e"}); err != nil || s.Status != tasktypes.Status_CREATED || s.Stdout == "" {
		t.Errorf("state %v, %v", s, err)
	}
	w.must(w.Start(ctx, &taskapi.StartRequest{ID: "app", ExecID: "e"}))
	if r, err := w.Wait(ctx, &taskapi.WaitRequest{ID: "app", ExecID: "e"}); err != nil || r.ExitStatus != 5 {
		t.Errorf("%v, %v", r, err)
	}
	if out, errs := <-stdout, <-stderr; out != "guest2 [check -v]\n" || errs != "noted\n" {
		t.Errorf("%q, %q", out, errs)
	}
	if _, err := w.Start(ctx, &taskapi.StartRequest{ID: "app", ExecID: "e"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("twice: %v", err)
	}
	if _, err := w.Kill(ctx, &taskapi.KillRequest{ID: "app", ExecID: "e", Signal: 9}); status.Code(err) != codes.NotFound {
		t.Errorf("kill what has ended: %v", err)
	}
	if r, err := w.Delete(ctx, &taskapi.DeleteRequest{ID: "app", ExecID: "e"}); err != nil || r.ExitStatus != 5 {
		t.Errorf("%v, %v", r, err)
	}
	if got := w.told()[4:]; fmt.Sprint(got) != "[/tasks/exec-added /tasks/exec-started /tasks/exit]" {
		t.Errorf("events %v", got)
	}
	if s, err := w.State(ctx, &taskapi.StateRequest{ID: "app"}); err != nil || s.Status != tasktypes.Status_RUNNING {
		t.Errorf("the guest: %v, %v", s, err)
	}
}

// TestExecCannot: why something cannot be run is said where its errors would be.
func TestExecCannot(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.runtime.fail["ExecSync"] = status.Error(codes.InvalidArgument, "it exports no ls")
	_, stderr, err := w.exec("e", `{"args":["ls"]}`)
	if err != nil {
		t.Fatal(err)
	}
	w.must(w.Start(t.Context(), &taskapi.StartRequest{ID: "app", ExecID: "e"}))
	if r, err := w.Wait(t.Context(), &taskapi.WaitRequest{ID: "app", ExecID: "e"}); err != nil || r.ExitStatus != exitCannot {
		t.Errorf("%v, %v", r, err)
	}
	if got := <-stderr; got != "it exports no ls\n" {
		t.Errorf("%q", got)
	}
}

func TestExecIsKilled(t *testing.T) {
	w := newWorld(t)
	w.start()
	if _, _, err := w.exec("e", `{"args":["hang"]}`); err != nil {
		t.Fatal(err)
	}
	w.must(w.Start(t.Context(), &taskapi.StartRequest{ID: "app", ExecID: "e"}))
	if _, err := w.Delete(t.Context(), &taskapi.DeleteRequest{ID: "app", ExecID: "e"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("delete what runs: %v", err)
	}
	w.must(w.Kill(t.Context(), &taskapi.KillRequest{ID: "app", ExecID: "e", Signal: uint32(unix.SIGWINCH)}))
	w.must(w.Kill(t.Context(), &taskapi.KillRequest{ID: "app", ExecID: "e", Signal: uint32(unix.SIGKILL)}))
	if r, err := w.Wait(t.Context(), &taskapi.WaitRequest{ID: "app", ExecID: "e"}); err != nil || r.ExitStatus != exitKilled {
		t.Errorf("%v, %v", r, err)
	}
}

func TestExecRefuses(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := t.Context()
	ask := func(change func(*taskapi.ExecProcessRequest)) error {
		r := &taskapi.ExecProcessRequest{ID: "app", ExecID: "e", Spec: &anypb.Any{Value: []byte(`{"args":["x"]}`)}}
		change(r)
		_, err := w.Exec(ctx, r)
		return err
	}
	for name, tt := range map[string]struct {
		change func(*taskapi.ExecProcessRequest)
		want   codes.Code
	}{
		"no task":       {func(r *taskapi.ExecProcessRequest) { r.ID = "none" }, codes.NotFound},
		"a sandbox":     {func(r *taskapi.ExecProcessRequest) { r.ID = "box" }, codes.FailedPrecondition},
		"no id":         {func(r *taskapi.ExecProcessRequest) { r.ExecID = "" }, codes.InvalidArgument},
		"a terminal":    {func(r *taskapi.ExecProcessRequest) { r.Terminal = true }, codes.InvalidArgument},
		"no arguments":  {func(r *taskapi.ExecProcessRequest) { r.Spec.Value = []byte(`{}`) }, codes.InvalidArgument},
		"no process":    {func(r *taskapi.ExecProcessRequest) { r.Spec.Value = []byte(`{`) }, codes.InvalidArgument},
		"nothing of it": {func(r *taskapi.ExecProcessRequest) { r.Spec = nil }, codes.InvalidArgument},
	} {
		if err := ask(tt.change); status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	for i := range maxProcesses {
		if err := ask(func(r *taskapi.ExecProcessRequest) { r.ExecID = fmt.Sprint(i) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(func(r *taskapi.ExecProcessRequest) { r.ExecID = "0" }); status.Code(err) != codes.AlreadyExists {
		t.Errorf("the same again: %v", err)
	}
	if err := ask(func(r *taskapi.ExecProcessRequest) { r.ExecID = "more" }); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too many: %v", err)
	}
	if _, err := w.Delete(ctx, &taskapi.DeleteRequest{ID: "app", ExecID: "0"}); err != nil {
		t.Errorf("delete what was not started: %v", err)
	}
	if _, err := w.Wait(ctx, &taskapi.WaitRequest{ID: "app", ExecID: "0"}); status.Code(err) != codes.NotFound {
		t.Errorf("wait for what is deleted: %v", err)
	}
	if told := w.told(); slices.ContainsFunc(told[4:], func(s string) bool { return !strings.HasPrefix(s, "/tasks/exec-added") }) {
		t.Errorf("events %v", told)
	}
}
