package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

// world is a runner with a client connected to it.
type world struct {
	*control.Client
	t      *testing.T
	dir    string
	socket string
	ended  chan error
	stop   context.CancelFunc
	events chan control.Status
	next   atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, dir: dir, socket: filepath.Join(dir, "s"), ended: make(chan error, 1), events: make(chan control.Status, 100)}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Namespace: "default", Listener: l, Version: "test", Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.ended <- r.Run(ctx); close(w.ended) }()
	w.Client = w.dial()
	t.Cleanup(func() {
		cancel()
		for err := range w.ended {
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		}
		_ = w.Client.Close()
	})
	return w
}

func (w *world) dial() *control.Client {
	w.t.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := control.NewClient(context.Background(), conn, func(event string, params json.RawMessage) {
		var s control.Status
		if err := json.Unmarshal(params, &s); err != nil {
			w.t.Error(err)
		}
		w.events <- s
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// params describes a container of the module with an address of its own.
func (w *world) params(wasm []byte) control.CreateParams {
	w.t.Helper()
	p := writeModule(w.t, w.dir, wasm)
	n := w.next.Add(1)
	p.ID, p.LogPath = fmt.Sprintf("c%04d", n), filepath.Join(w.dir, "logs", fmt.Sprint(n), "0.log")
	return p
}

func writeModule(t testing.TB, dir string, wasm []byte) control.CreateParams {
	t.Helper()
	h := sha256.Sum256(wasm)
	digest := hex.EncodeToString(h[:])
	path := filepath.Join(dir, digest)
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return control.CreateParams{ID: "c", SandboxID: "s", ModulePath: path, Digest: "sha256:" + digest,
		Address: nextAddress(), Ports: []uint16{8080}}
}

var addresses atomic.Int64

// nextAddress answers an address that no other test of this package uses.
func nextAddress() string {
	n := addresses.Add(1)
	return fmt.Sprintf("127.42.%d.%d", 200+n/250, n%250+1)
}

func (w *world) do(method string, params any) (control.Status, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var s control.Status
	err := w.Call(ctx, method, params, &s)
	return s, err
}

func (w *world) must(method string, params any) control.Status {
	w.t.Helper()
	s, err := w.do(method, params)
	if err != nil {
		w.t.Fatalf("%s: %v", method, err)
	}
	return s
}

// launch creates and starts a container.
func (w *world) launch(p control.CreateParams) control.Status {
	w.t.Helper()
	w.must(control.MethodCreate, p)
	return w.must(control.MethodStart, control.Target{ID: p.ID})
}

// exit waits for the event of the container's end.
func (w *world) exit(id string) control.Status {
	w.t.Helper()
	for {
		select {
		case s := <-w.events:
			if s.ID == id && s.State == control.StateExited {
				return s
			}
		case <-time.After(20 * time.Second):
			w.t.Fatalf("container %s did not exit", id)
		}
	}
}

func (w *world) log(p control.CreateParams) string {
	w.t.Helper()
	b, err := os.ReadFile(p.LogPath)
	if err != nil {
		w.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(line, " ")
		out.WriteString(rest)
	}
	return out.String()
}

func wantCode(t *testing.T, err error, code control.Code) {
	t.Helper()
	var e *control.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error %v, want code %s", err, code)
	}
}

func url(p control.CreateParams) string {
	port := 8080
	if len(p.Ports) > 0 {
		port = int(p.Ports[0])
	}
	return fmt.Sprintf("http://%s:%d/", p.Address, port)
}

// get asks without keeping the connection.
func get(ctx context.Context, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

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
	for range 2000 {
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
	if took := time.Since(begin); took < 200*time.Millisecond || took > 10*time.Second {
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
	spin.WallTime = 200 * time.Millisecond
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
