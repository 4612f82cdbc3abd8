package runner

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// attached is somebody who is attached to a container.
type attached struct {
	life, in *os.File
	out      *bufio.Reader
	file     *os.File
	done     chan error
}

func (w *world) attach(id string, stdin bool) *attached {
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
	a := &attached{life: life, in: feed, out: bufio.NewReader(out), file: out, done: make(chan error, 1)}
	theirs := []*os.File{theirLife}
	if stdin {
		theirs = append(theirs, in)
	}
	theirs = append(theirs, theirOut)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		files, err := w.Exchange(ctx, control.MethodAttach, control.AttachParams{ID: id, Stdin: stdin, Stdout: true}, theirs, nil)
		control.CloseFiles(files)
		control.CloseFiles([]*os.File{theirLife, in, theirOut})
		a.done <- err
	}()
	w.t.Cleanup(func() { control.CloseFiles([]*os.File{life, feed, out}) })
	return a
}

func (a *attached) line(t *testing.T) string {
	t.Helper()
	_ = a.file.SetReadDeadline(time.Now().Add(20 * time.Second))
	line, err := a.out.ReadString('\n')
	if err != nil {
		t.Errorf("read a line: %q, %v", line, err)
	}
	return line
}

func (a *attached) end(t *testing.T) {
	t.Helper()
	select {
	case err := <-a.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the attachment goes on")
	}
}

// TestAttachFeedsACommand has one come and go, and another end the input.
func TestAttachFeedsACommand(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Echo())
	p.Stdin = true
	w.launch(p)
	first := w.attach(p.ID, true)
	fmt.Fprintln(first.in, "one")
	if got := first.line(t); got != "one\n" {
		t.Errorf("got %q", got)
	}
	first.life.Close()
	first.end(t)
	second := w.attach(p.ID, true)
	fmt.Fprintln(second.in, "two")
	if got := second.line(t); got != "two\n" {
		t.Errorf("got %q", got)
	}
	w.must(control.MethodStop, control.StopParams{ID: p.ID})
	second.end(t)
	if rest, err := io.ReadAll(second.out); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
	if got, want := w.log(p), "stdout F one\nstdout F two\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

func TestStdinOnceEndsWithItsFirstFeeder(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Echo())
	p.Stdin, p.StdinOnce = true, true
	w.launch(p)
	a := w.attach(p.ID, true)
	fmt.Fprint(a.in, "all of it\n")
	a.in.Close()
	if got := a.line(t); got != "all of it\n" {
		t.Errorf("got %q", got)
	}
	a.end(t)
	if s := w.exit(p.ID); s.ExitCode != 0 || s.Reason != control.ReasonCompleted {
		t.Errorf("got %+v", s)
	}
}

func TestAttachReadsAlong(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Serve("body", "logged\n", 0))
	p.Stdin = true // which an HTTP guest has not
	w.launch(p)
	a, b := w.attach(p.ID, false), w.attach(p.ID, false)
	c, err := w.runner.find(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); c.taps.count.Load() < 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	resp, err := http.Get("http://" + p.Address + ":8080/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	for _, x := range []*attached{a, b} {
		if got := x.line(t); got != "logged\n" {
			t.Errorf("got %q", got)
		}
		x.life.Close()
		x.end(t)
	}
	_, err = w.do(control.MethodAttach, control.AttachParams{ID: p.ID, Stdin: true, Check: true})
	wantCode(t, err, control.CodePrecondition)
	_, err = w.do(control.MethodAttach, control.AttachParams{ID: "nobody", Check: true})
	wantCode(t, err, control.CodeNotFound)
	_, err = w.do(control.MethodAttach, control.AttachParams{ID: p.ID, Stdout: true})
	wantCode(t, err, control.CodeInvalid)
	w.must(control.MethodStop, control.StopParams{ID: p.ID})
	_, err = w.do(control.MethodAttach, control.AttachParams{ID: p.ID, Check: true})
	wantCode(t, err, control.CodePrecondition)
}

// TestTapsLetGo has a reader fall behind: the writer does not wait for him.
func TestTapsLetGo(t *testing.T) {
	var all taps
	blocked, out := io.Pipe()
	slow := all.open("stdout", out)
	piece := []byte(strings.Repeat("x", 1<<16))
	for range 3 * maxTapped / len(piece) { // once in the writer's hands, once waiting, and more
		all.write("stdout", piece)
		all.write("stderr", piece)
	}
	slow.mu.Lock()
	lost, waiting := slow.lost, len(slow.waiting)
	slow.mu.Unlock()
	if !lost || waiting > maxTapped {
		t.Errorf("lost %v with %d bytes waiting", lost, waiting)
	}
	blocked.Close()
	<-slow.done
	all.close(slow)
	if all.count.Load() != 0 || len(all.all) != 0 {
		t.Error("the tap is still there")
	}
}
