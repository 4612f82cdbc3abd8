package runner

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommands(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name    string
		wasm    []byte
		change  func(*control.CreateParams)
		code    int32
		reason  string
		message string
		log     string
	}{
		{"success", wasmtest.Print("out\n", "err\n", 0), nil, 0, control.ReasonCompleted, "", "stdout F out\nstderr F err\n"},
		{"exit code", wasmtest.Print("", "", 3), nil, 3, control.ReasonError, "", ""},
		{"no newline at the end", wasmtest.Print("a\nb", "", 0), nil, 0, control.ReasonCompleted, "", "stdout F a\nstdout P b\n"},
		{"arguments", wasmtest.Args(), func(p *control.CreateParams) { p.Args = []string{"app", "-v", ""} }, 0, control.ReasonCompleted, "", "stdout F app\x00-v\x00\x00\n"},
		{"environment", wasmtest.Env(), func(p *control.CreateParams) { p.Env = []string{"A=b", "C="} }, 0, control.ReasonCompleted, "", "stdout F A=b\x00C=\x00\n"},
		{"trap", wasmtest.Trap(), nil, control.ExitTrap, control.ReasonError, "unreachable", ""},
		{"memory", wasmtest.Hog(), func(p *control.CreateParams) { p.MemoryLimit = 16 << 20 }, control.ExitKilled, control.ReasonOOMKilled, "16 MiB", ""},
		{"wall time in a loop", wasmtest.Loop(), func(p *control.CreateParams) { p.WallTime = 50 * time.Millisecond }, control.ExitKilled, control.ReasonError, "wall time is over (50ms)", ""},
		{"wall time in a sleep", wasmtest.Sleep("", time.Hour), func(p *control.CreateParams) { p.WallTime = 50 * time.Millisecond }, control.ExitKilled, control.ReasonError, "wall time is over (50ms)", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := w.params(tt.wasm)
			if tt.change != nil {
				tt.change(&p)
			}
			if s := w.launch(p); s.Kind != "command" || s.StartedAt == 0 {
				t.Errorf("started: %+v", s)
			}
			s := w.exit(p.ID)
			if s.ExitCode != tt.code || s.Reason != tt.reason || !strings.Contains(s.Message, tt.message) {
				t.Errorf("exit %d %s %q, want %d %s %q", s.ExitCode, s.Reason, s.Message, tt.code, tt.reason, tt.message)
			}
			if s.CreatedAt == 0 || s.StartedAt < s.CreatedAt || s.FinishedAt < s.StartedAt {
				t.Errorf("times %d, %d, %d", s.CreatedAt, s.StartedAt, s.FinishedAt)
			}
			if got := w.log(p); tt.log != "" && got != tt.log {
				t.Errorf("log %q, want %q", got, tt.log)
			}
			w.must(control.MethodRemove, control.Target{ID: p.ID})
		})
	}
}

func TestStartFails(t *testing.T) {
	w := newWorld(t)
	taken := w.params(wasmtest.Serve("first", "", 0))
	w.launch(taken)
	tests := []struct {
		name   string
		wasm   []byte
		change func(*control.CreateParams)
		says   string
	}{
		{"address in use", wasmtest.Serve("x", "", 0), func(p *control.CreateParams) { p.Address = taken.Address }, "the port is taken"},
		{"one port in use", wasmtest.Serve("x", "", 0), func(p *control.CreateParams) { p.Address, p.Ports = taken.Address, []uint16{9000, 8080} }, "the port is taken"},
		{"foreign address", wasmtest.Serve("x", "", 0), func(p *control.CreateParams) { p.Address = "192.0.2.1" }, "not one of this host"},
		{"no address", wasmtest.Serve("x", "", 0), func(p *control.CreateParams) { p.Address = "" }, "needs a pod address"},
		{"guest cannot be initialised", wasmtest.Stillborn(), nil, "initialise guest"},
		{"memory larger than the limit", wasmtest.Large(200), func(p *control.CreateParams) { p.MemoryLimit = 1 << 20 }, "1 MiB"},
		{"log cannot be written", wasmtest.Serve("x", "", 0), func(p *control.CreateParams) { p.LogPath = "/proc/nowhere/0.log" }, "log"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := w.params(tt.wasm)
			if tt.change != nil {
				tt.change(&p)
			}
			w.must(control.MethodCreate, p)
			_, err := w.do(control.MethodStart, control.Target{ID: p.ID})
			wantCode(t, err, control.CodeStart)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v does not tell %q", err, tt.says)
			}
			if s := w.exit(p.ID); s.ExitCode != control.ExitStartError || s.Reason != control.ReasonStartError || !strings.Contains(s.Message, tt.says) {
				t.Errorf("exit: %+v", s)
			}
			_, err = w.do(control.MethodStart, control.Target{ID: p.ID})
			wantCode(t, err, control.CodePrecondition)
		})
	}
	// What a failed start had opened is closed: its free port can be taken.
	p := w.params(wasmtest.Serve("x", "", 0))
	p.Address, p.Ports = taken.Address, []uint16{9000}
	w.launch(p)
}

func TestRefusedRequests(t *testing.T) {
	w := newWorld(t)
	good := w.params(wasmtest.Print("", "", 0))
	w.must(control.MethodCreate, good)
	spoil := func(f func(*control.CreateParams)) control.CreateParams {
		p := w.params(wasmtest.Print("", "", 0))
		f(&p)
		return p
	}
	tests := []struct {
		name, method string
		params       any
		code         control.Code
	}{
		{"id is taken", control.MethodCreate, good, control.CodeExists},
		{"no module there", control.MethodCreate, spoil(func(p *control.CreateParams) { p.ModulePath += "x"; p.Digest = "sha256:x" }), control.CodeInternal},
		{"another module there", control.MethodCreate, spoil(func(p *control.CreateParams) { p.Digest = "sha256:y" }), control.CodeInvalid},
		{"no module at all", control.MethodCreate, w.params([]byte("#!/bin/sh")), control.CodeInvalid},
		{"bad environment", control.MethodCreate, spoil(func(p *control.CreateParams) { p.Env = []string{"x"} }), control.CodeInvalid},
		{"start of nothing", control.MethodStart, control.Target{ID: "x"}, control.CodeNotFound},
		{"stop of nothing", control.MethodStop, control.StopParams{ID: "x"}, control.CodeNotFound},
		{"update of nothing", control.MethodUpdate, control.UpdateParams{ID: "x"}, control.CodeNotFound},
		{"reopen of what does not run", control.MethodReopen, control.Target{ID: good.ID}, control.CodePrecondition},
		{"unknown method", "dance", nil, control.CodeInvalid},
		{"other params", control.MethodStart, "x", control.CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.do(tt.method, tt.params)
			wantCode(t, err, tt.code)
		})
	}
	if err := w.Call(t.Context(), control.MethodRemove, control.Target{ID: "x"}, nil); err != nil {
		t.Errorf("remove of nothing: %v", err)
	}
}

func TestUpdateMemory(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Large(100)) // 6.25 MiB
	w.launch(p)
	if code, _, err := get(t.Context(), url(p)); err != nil || code == http.StatusInsufficientStorage {
		t.Fatalf("before: %d, %v", code, err)
	}
	if s := w.must(control.MethodUpdate, control.UpdateParams{ID: p.ID, MemoryLimit: 1 << 20}); s.MemoryLimit != 1<<20 {
		t.Errorf("status %+v", s)
	}
	if code, _, err := get(t.Context(), url(p)); err != nil || code != http.StatusInsufficientStorage {
		t.Errorf("after: %d, %v; want 507", code, err)
	}
	c := w.params(wasmtest.Sleep("", time.Hour))
	w.must(control.MethodCreate, c)
	w.must(control.MethodUpdate, control.UpdateParams{ID: c.ID, MemoryLimit: 1 << 20})
	w.must(control.MethodStart, control.Target{ID: c.ID})
	_, err := w.do(control.MethodUpdate, control.UpdateParams{ID: c.ID, MemoryLimit: 2 << 20})
	wantCode(t, err, control.CodePrecondition)
}

func TestTemplatesAreShared(t *testing.T) {
	w := newWorld(t)
	wasm := wasmtest.Serve("shared", "", 0)
	var wg sync.WaitGroup
	var fresh atomic.Int64
	list := make([]control.CreateParams, 20)
	for i := range list {
		list[i] = w.params(wasm)
	}
	for _, p := range list {
		wg.Go(func() {
			w.must(control.MethodCreate, p)
			if s := w.must(control.MethodStart, control.Target{ID: p.ID}); !s.CompileCached {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 1 {
		t.Errorf("%d containers say they compiled", fresh.Load())
	}
	var stats control.ProcessStats
	if err := w.Call(t.Context(), control.MethodPing, nil, &stats); err != nil {
		t.Fatal(err)
	}
	if stats.Templates != 1 || stats.Containers != len(list) || stats.ResidentBytes == 0 || stats.PID != os.Getpid() {
		t.Errorf("stats %+v", stats)
	}
}

func TestListAndEventsForTheNextSupervisor(t *testing.T) {
	w := newWorld(t)
	short, long := w.params(wasmtest.Print("", "", 7)), w.params(wasmtest.Serve("x", "", 0))
	w.launch(long)
	_ = w.Client.Close() // the supervisor dies
	next := w.dial()     // and another one comes
	w.Client = next
	w.launch(short)
	w.exit(short.ID)
	var list control.ListResult
	if err := w.Call(t.Context(), control.MethodList, control.ListParams{}, &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]control.Status{}
	for _, s := range list.Containers {
		got[s.ID] = s
	}
	if list.More || len(got) != 2 || got[long.ID].State != control.StateRunning || got[short.ID].State != control.StateExited || got[short.ID].ExitCode != 7 {
		t.Errorf("list %+v", list)
	}
	if code, _, err := get(t.Context(), url(long)); err != nil || code != 200 {
		t.Errorf("the older container: %d, %v", code, err)
	}
}

func TestListIsPaged(t *testing.T) {
	w := newWorld(t)
	const n = control.MaxPage + 10
	wasm := wasmtest.Print("", "", 0)
	for range n {
		w.must(control.MethodCreate, w.params(wasm))
	}
	seen := map[string]bool{}
	for after, pages := "", 0; ; pages++ {
		var page control.ListResult
		if err := w.Call(t.Context(), control.MethodList, control.ListParams{After: after}, &page); err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Containers {
			if seen[s.ID] || s.ID <= after {
				t.Fatalf("%s comes again", s.ID)
			}
			seen[s.ID] = true
			after = s.ID
		}
		if !page.More {
			break
		}
	}
	if len(seen) != n {
		t.Errorf("%d containers listed, want %d", len(seen), n)
	}
}

func TestReopenLog(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Serve("x", "line\n", 0))
	w.launch(p)
	if _, _, err := get(t.Context(), url(p)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(p.LogPath, p.LogPath+".1"); err != nil {
		t.Fatal(err)
	}
	if err := w.Call(t.Context(), control.MethodReopen, control.Target{ID: p.ID}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(t.Context(), url(p)); err != nil {
		t.Fatal(err)
	}
	if got := w.log(p); got != "stdout F line\n" {
		t.Errorf("new log %q", got)
	}
}

func TestShutdownEndsTheProcess(t *testing.T) {
	w := newWorld(t)
	w.launch(w.params(wasmtest.Loop()))
	w.launch(w.params(wasmtest.Serve("x", "", 0)))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.Call(ctx, control.MethodShutdown, control.ShutdownParams{Grace: 10 * time.Millisecond}, nil); err != nil && !errors.Is(err, control.ErrClosed) {
		t.Fatal(err)
	}
	select {
	case err := <-w.ended:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Fatal("the runner goes on")
	}
}

func TestRemoveEndsWhatRuns(t *testing.T) {
	w := newWorld(t)
	p := w.params(wasmtest.Loop())
	w.launch(p)
	w.must(control.MethodRemove, control.Target{ID: p.ID})
	if s := w.exit(p.ID); s.ExitCode != control.ExitKilled {
		t.Errorf("exit %+v", s)
	}
	_, err := w.do(control.MethodStart, control.Target{ID: p.ID})
	wantCode(t, err, control.CodeNotFound)
	w.launch(p) // the id is free again
}

func TestResidentPages(t *testing.T) {
	if n, err := residentPages([]byte("100 25 3 0 0 0 0\n")); n != 25 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "1", "1 x"} {
		if _, err := residentPages([]byte(bad)); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}
