package runner

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// exec runs a command as a supervisor does, and answers what it printed.
func (w *world) exec(ctx context.Context, p control.ExecParams, stdin string) (r control.ExecResult, stdout, stderr string, err error) {
	w.t.Helper()
	pipe := func() (*os.File, *os.File) {
		from, to, err := os.Pipe()
		if err != nil {
			w.t.Fatal(err)
		}
		return from, to
	}
	theirLife, life := pipe()
	in, feed := pipe()
	out, theirOut := pipe()
	errs, theirErrs := pipe()
	p.Stdin, p.Stdout, p.Stderr = true, true, true
	theirs := []*os.File{theirLife, in, theirOut, theirErrs}
	if p.Check {
		control.CloseFiles(theirs)
		theirs = nil
	}
	stop := context.AfterFunc(ctx, func() { life.Close() })
	defer func() {
		stop()
		life.Close()
	}()
	go func() {
		_, _ = io.WriteString(feed, stdin)
		feed.Close()
	}()
	var printed, complained bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&printed, out)
		_, _ = io.Copy(&complained, errs)
	}()
	bounded, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	files, err := w.Exchange(bounded, control.MethodExec, p, theirs, &r)
	control.CloseFiles(files)
	control.CloseFiles(theirs)
	<-done
	out.Close()
	errs.Close()
	return r, printed.String(), complained.String(), err
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Tools())
	p.Args = []string{"tools"}
	w.launch(p)
	large := strings.Repeat("0123456789abcdef", 1<<14)
	for _, tt := range []struct {
		command        []string
		stdin          string
		code           int32
		stdout, stderr string
		message        string
	}{
		{[]string{"greet"}, "", 0, "hello\n", "", ""},
		{[]string{"complain"}, "", 0, "", "hello\n", ""},
		{[]string{"fail"}, "", 4, "", "", ""},
		{[]string{"copy"}, large, 0, large, "", ""},
		{[]string{"arguments", "-v", ""}, "", 0, "arguments\x00-v\x00\x00", "", ""},
		{[]string{"break"}, "", control.ExitTrap, "", "petrel: ", "unreachable"},
	} {
		r, stdout, stderr, err := w.exec(t.Context(), control.ExecParams{ID: p.ID, Args: tt.command}, tt.stdin)
		if err != nil || r.ExitCode != tt.code || stdout != tt.stdout || !strings.HasPrefix(stderr, tt.stderr) || !strings.Contains(r.Message, tt.message) {
			t.Errorf("%s: %+v, %d bytes %.40q, %q, %v", tt.command[0], r, len(stdout), stdout, stderr, err)
		}
	}
	if s := w.log(p); s != "" {
		t.Errorf("a further command wrote to the container's log: %q", s)
	}
}

func TestExecsThatAreEnded(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Tools())
	w.launch(p)
	r, _, _, err := w.exec(t.Context(), control.ExecParams{ID: p.ID, Args: []string{"forever"}, Timeout: 30 * time.Millisecond}, "")
	if err != nil || !r.TimedOut || r.ExitCode != control.ExitKilled {
		t.Errorf("time is over: %+v, %v", r, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	r, _, _, err = w.exec(ctx, control.ExecParams{ID: p.ID, Args: []string{"forever"}}, "")
	if err != nil || r.TimedOut || r.ExitCode != control.ExitKilled || !strings.Contains(r.Message, "nobody waits") {
		t.Errorf("nobody waits: %+v, %v", r, err)
	}
	c, err := w.runner.find(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for deadline := time.Now().Add(60 * time.Second); c.execs.Load() == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		_, _ = w.do(control.MethodStop, control.StopParams{ID: p.ID})
	}()
	r, _, _, err = w.exec(t.Context(), control.ExecParams{ID: p.ID, Args: []string{"forever"}}, "")
	if err != nil || r.ExitCode != control.ExitKilled || !strings.Contains(r.Message, "container has ended") {
		t.Errorf("the container ends: %+v, %v", r, err)
	}
	<-stopped
	_, _, _, err = w.exec(t.Context(), control.ExecParams{ID: p.ID, Args: []string{"greet"}}, "")
	wantCode(t, err, control.CodePrecondition)
}

func TestExecsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	tools, sleeper := w.params(wasmtest.Tools()), w.params(wasmtest.Sleep("awake\n", time.Hour))
	sleeper.Args = []string{"/bin/sleeper.wasm"}
	w.launch(tools)
	w.launch(sleeper)
	for _, tt := range []struct {
		p    control.ExecParams
		code control.Code // none: it can
		says string
	}{
		{control.ExecParams{ID: "nobody", Args: []string{"greet"}}, control.CodeNotFound, ""},
		{control.ExecParams{ID: tools.ID}, control.CodeInvalid, "required"},
		{control.ExecParams{ID: tools.ID, Args: []string{"sh"}}, control.CodeInvalid, "of these: greet, complain, fail"},
		{control.ExecParams{ID: tools.ID, Args: []string{"petrel_http_v1_handle"}}, control.CodeInvalid, "no shell"},
		{control.ExecParams{ID: tools.ID, Args: []string{"memory"}}, control.CodeInvalid, "no shell"},
		{control.ExecParams{ID: tools.ID, Args: []string{"_start"}}, control.CodeInvalid, "no shell"},
		{control.ExecParams{ID: tools.ID, Args: []string{"greet"}, Timeout: -1}, control.CodeInvalid, "timeout"},
		{control.ExecParams{ID: tools.ID, Args: []string{strings.Repeat("x", control.MaxStrings)}}, control.CodeInvalid, "bytes"},
		{control.ExecParams{ID: tools.ID, Args: []string{"greet"}}, "", ""},
		{control.ExecParams{ID: sleeper.ID, Args: []string{"sh"}}, control.CodeInvalid, "as sleeper.wasm"},
		{control.ExecParams{ID: sleeper.ID, Args: []string{"sleeper.wasm"}}, "", ""},
	} {
		tt.p.Check = true
		_, _, _, err := w.exec(t.Context(), tt.p, "")
		if tt.code == "" {
			if err != nil {
				t.Errorf("%v: %v", tt.p.Args, err)
			}
			continue
		}
		wantCode(t, err, tt.code)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%.60v: %v does not tell %q", tt.p.Args, err, tt.says)
		}
	}
	r, stdout, _, err := w.exec(t.Context(), control.ExecParams{ID: sleeper.ID, Args: []string{"sleeper.wasm"}, Timeout: time.Second}, "") // long enough for it to say something
	if err != nil || !r.TimedOut || stdout != "awake\n" {
		t.Errorf("the module again: %+v, %q, %v", r, stdout, err)
	}
	// Streams that are named have to come.
	_, err = w.do(control.MethodExec, control.ExecParams{ID: tools.ID, Args: []string{"greet"}, Stdout: true})
	wantCode(t, err, control.CodeInvalid)
}

func TestExecsAreBounded(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Tools())
	w.launch(p)
	c, err := w.runner.find(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	c.execs.Add(control.MaxExecs)
	_, _, _, err = w.exec(t.Context(), control.ExecParams{ID: p.ID, Args: []string{"greet"}}, "")
	wantCode(t, err, control.CodeBusy)
	c.execs.Add(-1)
	if _, stdout, _, err := w.exec(t.Context(), control.ExecParams{ID: p.ID, Args: []string{"greet"}}, ""); err != nil || stdout != "hello\n" {
		t.Errorf("the last one: %q, %v", stdout, err)
	}
}

func TestFilesOfExecs(t *testing.T) {
	counts := []int{}
	for _, p := range []control.ExecParams{{Check: true, Stdin: true}, {}, {Stdout: true}, {Stdin: true, Stdout: true, Stderr: true}} {
		counts = append(counts, p.Files())
	}
	if !slices.Equal(counts, []int{0, 1, 2, 4}) {
		t.Errorf("got %v", counts)
	}
}
