package runner

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

func TestHTTPGuest(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Serve("hello", "asked\n", 0))
	p.Ports = []uint16{8080, 8081, 8080}
	if s := w.launch(p); s.Kind != "reactor" || s.ColdStartMicros <= 0 || s.CompileCached {
		t.Errorf("started: %+v", s)
	}
	for _, port := range []int{8080, 8081} {
		code, body, err := get(t.Context(), fmt.Sprintf("http://%s:%d/", p.Address, port))
		if err != nil || code != 200 || body != "hello" {
			t.Errorf("port %d: %d %q, %v", port, code, body, err)
		}
	}
	if got, want := w.log(p), "stdout F asked\nstdout F asked\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	var stats control.StatsResult
	if err := w.Call(t.Context(), control.MethodStats, control.StatsParams{}, &stats); err != nil {
		t.Fatal(err)
	}
	if len(stats.Containers) != 1 || stats.Containers[0].Requests != 2 || stats.Containers[0].Failures != 0 || stats.Containers[0].GuestNanos == 0 {
		t.Errorf("stats %+v", stats)
	}
	s := w.must(control.MethodStop, control.StopParams{ID: p.ID, Grace: 5 * time.Second})
	if s.State != control.StateExited || s.ExitCode != 0 || s.Reason != control.ReasonCompleted {
		t.Errorf("stopped: %+v", s)
	}
	if _, _, err := get(t.Context(), url(p)); err == nil {
		t.Error("it answers after the stop")
	}
	again := w.must(control.MethodStop, control.StopParams{ID: p.ID}) // idempotent
	if again != s {
		t.Errorf("stopped again: %+v", again)
	}
}

func TestStopLetsRequestsFinish(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Serve("late", "begun\n", 300*time.Millisecond))
	w.launch(p)
	answered := make(chan string, 1)
	go func() {
		code, body, err := get(context.Background(), url(p))
		answered <- fmt.Sprint(code, body, err)
	}()
	w.awaitLog(p, "begun")
	s := w.must(control.MethodStop, control.StopParams{ID: p.ID, Grace: 10 * time.Second})
	if got := <-answered; got != "200late<nil>" {
		t.Errorf("the request that ran: %s", got)
	}
	if s.ExitCode != 0 || s.Reason != control.ReasonCompleted {
		t.Errorf("stopped: %+v", s)
	}
}

// awaitLog waits until the container has written text.
func (w *world) awaitLog(p control.CreateParams, text string) {
	w.t.Helper()
	for range 12_000 {
		if b, err := os.ReadFile(p.LogPath); err == nil && strings.Contains(string(b), text) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatalf("container %s did not write %q", p.ID, text)
}

func TestStopEndsRequestsAfterTheGrace(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Serve("never", "begun\n", time.Hour))
	p.WallTime = time.Hour
	w.launch(p)
	answered := make(chan int, 1)
	go func() {
		code, _, _ := get(context.Background(), url(p))
		answered <- code
	}()
	w.awaitLog(p, "begun")
	begin := time.Now()
	s := w.must(control.MethodStop, control.StopParams{ID: p.ID, Grace: 200 * time.Millisecond})
	if took := time.Since(begin); took < 200*time.Millisecond || took > time.Minute {
		t.Errorf("stopping took %v", took)
	}
	if s.ExitCode != control.ExitKilled || s.Reason != control.ReasonError || s.Message == "" {
		t.Errorf("stopped: %+v", s)
	}
	if code := <-answered; code != http.StatusServiceUnavailable && code != 0 {
		t.Errorf("the request that ran was answered %d", code)
	}
}

func TestSecondStopMayBeLessPatient(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Loop())
	w.launch(p)
	first := make(chan error, 1)
	go func() {
		_, err := w.do(control.MethodStop, control.StopParams{ID: p.ID, Grace: time.Hour})
		first <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if s := w.must(control.MethodStop, control.StopParams{ID: p.ID}); s.ExitCode != control.ExitKilled || s.Message != errStopped.Error() {
		t.Errorf("stopped: %+v", s)
	}
	if err := <-first; err != nil {
		t.Errorf("the first stop: %v", err)
	}
}

func TestWallTimeOfARequestKeepsItsNeighbours(t *testing.T) {
	w := newWorld(t)
	spin, hello := w.params(wasmtest.Spin()), w.params(wasmtest.Serve("hello", "", 0))
	spin.WallTime = 2 * time.Second
	w.launch(spin)
	w.launch(hello)
	code := make(chan int, 1)
	go func() {
		c, _, _ := get(context.Background(), url(spin))
		code <- c
	}()
	for served := 0; ; served++ {
		if c, body, err := get(t.Context(), url(hello)); c != 200 || body != "hello" {
			t.Fatalf("neighbour: %d %q %v", c, body, err)
		}
		select {
		case c := <-code:
			if c != http.StatusGatewayTimeout {
				t.Errorf("the looping request was answered %d", c)
			}
			if served == 0 {
				t.Error("the neighbour was not served meanwhile")
			}
			return
		default:
		}
	}
}
