package runner

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// TestFailuresAreTold: the first at once, those that follow together, and the status has all.
func TestFailuresAreTold(t *testing.T) {
	t.Parallel() // it waits for seconds
	w := newWorld(t)
	p := w.params(wasmtest.Serve("late", "", time.Minute))
	p.WallTime = 50 * time.Millisecond
	started := w.launch(p)
	if started.ABI != "petrel-http-v1" || started.ABIReason == "" || started.Isolation != "reset" || started.Snapshot == "" || started.ColdStart.CloneP50Micros <= 0 {
		t.Errorf("the guest: %+v", started.Guest)
	}
	begin := time.Now() // before the first failure: what is told of the others comes newsPause after that at the earliest
	for range 3 {
		if code, _, err := get(t.Context(), url(p)); err != nil || code != http.StatusGatewayTimeout {
			t.Fatalf("status %d, %v", code, err)
		}
	}
	first := w.eventAfter(started)
	if first.Failures.WallTime != 1 || first.LastFailure.Code != "wall_time" || first.LastFailure.Count != 1 || first.LastFailure.Detail == "" || first.LastFailure.Time == 0 {
		t.Errorf("told first: %+v", first.Guest)
	}
	second := w.eventAfter(first)
	if second.Failures.WallTime != 3 || second.LastFailure.Count != 3 {
		t.Errorf("told afterwards: %+v", second.Guest)
	}
	if waited := time.Since(begin); waited < newsPause {
		t.Errorf("told again after %v", waited)
	}
	var stats control.StatsResult
	if err := w.Call(t.Context(), control.MethodStats, control.StatsParams{Used: true}, &stats); err != nil {
		t.Fatal(err)
	}
	if len(stats.Containers) != 1 || stats.Containers[0].Causes.WallTime != 3 || stats.Containers[0].Failures != 3 {
		t.Errorf("stats %+v", stats)
	}
}

// eventAfter waits for news of a container that are newer than what is known.
func (w *world) eventAfter(known control.Status) control.Status {
	w.t.Helper()
	for {
		select {
		case s := <-w.events:
			if s.ID == known.ID && s.Revision > known.Revision {
				return s
			}
		case <-time.After(20 * time.Second):
			w.t.Fatalf("no event of %s", known.ID)
		}
	}
}

// TestFirstRequestIsTimed: once for all containers alike.
func TestFirstRequestIsTimed(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Serve("hello", "", 30*time.Millisecond))
	before := w.launch(p)
	if _, body, err := get(t.Context(), url(p)); err != nil || body != "hello" {
		t.Fatalf("%q, %v", body, err)
	}
	if s := w.eventAfter(before); s.ColdStart.FirstRequestMicros < 30_000 || s.ColdStart.SnapshotMicros != before.ColdStart.SnapshotMicros {
		t.Errorf("cold start %+v, before %+v", s.ColdStart, before.ColdStart)
	}
	replica := p
	replica.ID, replica.Address = "replica", nextAddress()
	known := w.launch(replica)
	if known.ColdStart.FirstRequestMicros < 30_000 {
		t.Errorf("of a replica: %+v", known.ColdStart)
	}
	if _, body, err := get(t.Context(), url(replica)); err != nil || body != "hello" {
		t.Fatalf("%q, %v", body, err)
	}
	time.Sleep(50 * time.Millisecond)
	for len(w.events) > 0 {
		if s := <-w.events; s.ID == known.ID && s.Revision > known.Revision {
			t.Errorf("told again: %+v", s)
		}
	}
}

// TestSleepAndWake: a server that has slept answers, and what it counted stays.
func TestSleepAndWake(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Serve("hello", "", 0))
	w.launch(p)
	c, err := w.runner.find(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	server := serverOf(c)
	for round := range uint64(3) {
		if server.sleeps() == false {
			t.Fatal("it is awake before anybody asks")
		}
		if _, body, err := get(t.Context(), url(p)); err != nil || body != "hello" {
			t.Fatalf("%q, %v", body, err)
		}
		if server.sleeps() {
			t.Error("it sleeps after a request")
		}
		for range 60_000 { // the connection's end may not be noticed yet
			if server.rest(time.Now(), 0) {
				break
			}
			time.Sleep(time.Millisecond)
		}
		var s control.ContainerStats
		server.stats(&s)
		if s.Requests != round+1 || s.Pool.Calls < round+1 || s.Pool.Idle != 0 {
			t.Errorf("stats after %d rounds: %+v", round+1, s)
		}
	}
	if s := w.must(control.MethodStop, control.StopParams{ID: p.ID, Grace: time.Second}); s.ExitCode != 0 || s.Reason != control.ReasonCompleted {
		t.Errorf("stopped asleep: %+v", s)
	}
}

func (s *httpServer) sleeps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.awake == nil
}

// TestSleepLosesNobody: clients come while the server goes to sleep all the time.
func TestSleepLosesNobody(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Serve("hello", "", 0))
	w.launch(p)
	c, err := w.runner.find(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	server := serverOf(c)
	answered := make(chan error, 200)
	for range 4 {
		go func() {
			for range 50 {
				_, _, err := get(t.Context(), url(p))
				answered <- err
			}
		}()
	}
	var errs []error
	for len(errs) < cap(answered) {
		select {
		case err := <-answered:
			errs = append(errs, err)
		default:
			server.rest(time.Now(), 0)
		}
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		t.Error(errs[i])
	}
}

func TestDetectedABI(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		http string
		own  bool
		wasm []byte
		abi  string
	}{
		{"", false, wasmtest.Serve("x", "", 0), "petrel-http-v1"},
		{"reactor", false, wasmtest.Serve("x", "", 0), "petrel-http-v1"},
		{"", false, wasmtest.Print("x", "", 0), "command"},
		{"", true, wasmtest.Print("x", "", 0), "wagi"},
		{"command", true, wasmtest.Print("x", "", 0), "command"},
		{"wagi", false, wasmtest.Print("x", "", 0), "wagi"},
	} {
		p := w.params(tt.wasm)
		p.HTTP, p.OwnPorts = tt.http, tt.own
		if s, err := w.do(control.MethodCreate, p); err != nil || s.ABI != tt.abi {
			t.Errorf("%+v: %s, %v", tt, s.ABI, err)
		}
	}
	p := w.params(wasmtest.Print("x", "", 0))
	p.HTTP = "reactor"
	_, err := w.do(control.MethodCreate, p)
	wantCode(t, err, control.CodeInvalid)
	p.HTTP, p.Isolation = "", "none"
	_, err = w.do(control.MethodCreate, p)
	wantCode(t, err, control.CodeInvalid)
	p.Isolation, p.Egress = "", []string{"nonsense"}
	_, err = w.do(control.MethodCreate, p)
	wantCode(t, err, control.CodeInvalid)
}
