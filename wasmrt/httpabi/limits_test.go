package httpabi

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

func TestWallTime(t *testing.T) {
	const wall = time.Second
	s := apiServer(t, Config{WallTime: wall})
	for _, path := range []string{"/loop", "/sleep?for=1h"} {
		start := time.Now()
		resp, body := s.get(t, path)
		wantProblem(t, resp, body, 504, CodeWallTime, wall.String())
		if took := time.Since(start); took < wall || took > wall+time.Minute {
			t.Errorf("%s ended after %s", path, took)
		}
	}
	// The next ones are served as if nothing had been.
	if _, body := s.get(t, "/sleep?for=1ms"); body != "slept" {
		t.Errorf("after a kill: %q", body)
	}
}

// Starting the program is not the request's time.
func TestSlowStart(t *testing.T) {
	s := apiServer(t, Config{WallTime: time.Second, Spec: engine.Spec{Env: []string{"SLOW_INIT=1200ms"}}})
	if _, body := s.get(t, "/hits"); body != "1" {
		t.Errorf("the first request: %q", body)
	}
	resp, body := s.get(t, "/sleep?for=1h")
	wantProblem(t, resp, body, 504, CodeWallTime, "1s")
	s = apiServer(t, Config{WallTime: time.Second, Isolation: engine.IsolationFresh, Spec: engine.Spec{Env: []string{"SLOW_INIT=1200ms"}}})
	begun := time.Now()
	resp, body = s.get(t, "/sleep?for=1h")
	wantProblem(t, resp, body, 504, CodeWallTime, "1s")
	if took := time.Since(begun); took < 2200*time.Millisecond || took > time.Minute {
		t.Errorf("a start and a sleep were ended after %s", took)
	}
}

// A guest blocked in a read of its client or in a write to it is ended too.
func TestWallTimeOnAStalledConnection(t *testing.T) {
	s := apiServer(t, Config{WallTime: 300 * time.Millisecond})
	dial := func(request string) net.Conn {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	conn := dial("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this")
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 504 ")) || !bytes.Contains(answer, []byte(CodeWallTime)) {
		t.Errorf("a stalled upload: %q, %v", answer, err)
	}
	conn = dial("GET /big?n=1000000000 HTTP/1.1\r\nHost: x\r\n\r\n")
	time.Sleep(800 * time.Millisecond) // nothing is read, so the kernel's buffers fill up and the guest stands in a write
	got, _ := io.Copy(io.Discard, conn)
	if got >= 1_000_000_000 {
		t.Errorf("%d bytes came", got)
	}
}

func TestMemoryLimit(t *testing.T) {
	s := apiServer(t, Config{Spec: engine.Spec{MemoryLimit: 48 << 20}})
	resp, body := s.get(t, "/eat")
	wantProblem(t, resp, body, 507, CodeMemory, "limit is 48 MiB")
	tiny := apiServer(t, Config{Spec: engine.Spec{MemoryLimit: 1 << 20}})
	resp, body = tiny.get(t, "/hits")
	wantProblem(t, resp, body, 507, CodeMemory, "limit is 1 MiB")
}

func TestTrap(t *testing.T) {
	m := moduletest.Reactor(moduletest.Call(4))
	m.Name = "app"
	m.Funcs = append(m.Funcs, moduletest.Func{Name: "average", Body: moduletest.DivideZero})
	s := serve(t, moduletest.Build(m), Config{})
	resp, body := s.get(t, "/")
	wantProblem(t, resp, body, 502, CodeTrap, "average", "integer divide by zero")

	late := moduletest.Reactor(moduletest.Then(moduletest.Respond(200), moduletest.Unreachable))
	s = serve(t, moduletest.Build(late), Config{})
	if resp, err := s.Client().Do(s.request(t, "GET", "/", nil)); err == nil {
		resp.Body.Close()
		t.Errorf("a trap after the head: the client sees %s", resp.Status)
	}
	silent := serve(t, moduletest.Build(moduletest.Reactor(nil)), Config{})
	resp, body = silent.get(t, "/")
	wantProblem(t, resp, body, 502, CodeNoResponse)
	growing := serve(t, moduletest.Build(moduletest.Reactor(moduletest.GrowOrTrap())), Config{Spec: engine.Spec{MemoryLimit: 4 * module.PageSize}})
	resp, body = growing.get(t, "/")
	wantProblem(t, resp, body, 507, CodeMemory)
}

// What a guest passes is not believed.
func TestBadCalls(t *testing.T) {
	call := func(args ...int32) []byte { // of response_head, whose result becomes the exit of a second one
		return moduletest.Then(moduletest.Const(args[0]), moduletest.Const(args[1]), moduletest.Const(args[2]), moduletest.Call(0), []byte{0x1a})
	}
	tests := map[string][]byte{
		"pointer outside":   call(200, 70_000, 1),
		"length outside":    call(200, 0, -1),
		"status too small":  call(99, 0, 1),
		"status too large":  call(1000, 0, 1),
		"switching":         call(101, 0, 1),
		"empty block":       call(200, 0, 0),
		"write before head": moduletest.Then(moduletest.Const(0), moduletest.Const(1), moduletest.Call(1), []byte{0x1a}),
		"read into nowhere": moduletest.Then(moduletest.Const(65_000), moduletest.Const(1000), moduletest.Call(2), []byte{0x1a}),
		"read of nothing":   moduletest.Then(moduletest.Const(0), moduletest.Const(0), moduletest.Call(2), []byte{0x1a}),
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			// The call is refused, so that the answer after it is the first.
			s := serve(t, moduletest.Build(moduletest.Reactor(moduletest.Then(body, moduletest.Respond(204)))), Config{})
			if resp, text := s.get(t, "/"); resp.StatusCode != 204 {
				t.Errorf("%s %s", resp.Status, text)
			}
		})
	}
	twice := serve(t, moduletest.Build(moduletest.Reactor(moduletest.Then(moduletest.Respond(204), moduletest.Respond(500)))), Config{})
	if resp, _ := twice.get(t, "/"); resp.StatusCode != 204 {
		t.Errorf("the second head counts: %s", resp.Status)
	}
}

func TestBodyLimits(t *testing.T) {
	s := apiServer(t, Config{MaxRequestBody: 1000, MaxResponseBody: 10_000})
	resp, body := s.do(t, s.request(t, "POST", "/sum", strings.NewReader(strings.Repeat("x", 1001))))
	wantProblem(t, resp, body, 413, CodeTooLarge, "1001 bytes", "1000")
	if _, body := s.do(t, s.request(t, "POST", "/sum", strings.NewReader(strings.Repeat("x", 1000)))); body != "1000 <nil> " {
		t.Errorf("at the limit: %q", body)
	}
	unknown := io.MultiReader(strings.NewReader(strings.Repeat("x", 1001)))
	if _, body := s.do(t, s.request(t, "POST", "/sum", unknown)); body != "1000 http: request body too large " {
		t.Errorf("over the limit without a length: %q", body)
	}
	if _, body := s.get(t, "/big?n=10000"); len(body) != 10_000 {
		t.Errorf("at the response's limit: %d bytes", len(body))
	}
	resp, err := s.Client().Do(s.request(t, "GET", "/big?n=20000", nil))
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("a response over the limit is taken for whole")
	}
	r := s.request(t, "GET", "/hits", nil)
	r.Header.Set("X-Huge", strings.Repeat("x", 1_048_570))
	resp, body = s.do(t, r)
	wantProblem(t, resp, body, 431, CodeHead)
}

// waiter is a guest that answers when its request's body has ended.
func waiter() []byte {
	read := moduletest.Then(moduletest.Const(1024), moduletest.Const(16), moduletest.Call(2), []byte{0x1a})
	return moduletest.Build(moduletest.Reactor(moduletest.Then(read, moduletest.Respond(204))))
}

// held is a request whose body ends with release.
type held struct {
	release func()
	status  chan int
}

func hold(t *testing.T, s *server) held {
	t.Helper()
	body, w := io.Pipe()
	h := held{release: func() { w.Close() }, status: make(chan int, 1)}
	t.Cleanup(h.release)
	go func() {
		resp, err := s.Client().Do(s.request(t, "POST", "/", body))
		if err != nil {
			h.status <- 0
			return
		}
		resp.Body.Close()
		h.status <- resp.StatusCode
	}()
	return h
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to " + what)
		}
	}
}

func TestQueue(t *testing.T) {
	s := serve(t, waiter(), Config{Concurrency: 2, Queue: 2, QueueTime: time.Minute})
	var served []held
	for range 4 {
		served = append(served, hold(t, s))
	}
	q := s.handler.queue
	eventually(t, "two running and two waiting", func() bool { return len(q.places) == 2 && q.waiting.Load() == 2 })
	for range 3 {
		resp, body := s.get(t, "/")
		wantProblem(t, resp, body, 503, CodeQueue, "full")
		if resp.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
		}
	}
	for _, h := range served {
		h.release()
	}
	for _, h := range served {
		if status := <-h.status; status != 204 {
			t.Errorf("a request that ran or waited got %d", status)
		}
	}
	eventually(t, "an empty queue", func() bool { return len(q.places) == 0 && q.waiting.Load() == 0 })
}

func TestQueueTime(t *testing.T) {
	s := serve(t, waiter(), Config{Concurrency: 1, QueueTime: 50 * time.Millisecond})
	h := hold(t, s)
	eventually(t, "a request that runs", func() bool { return len(s.handler.queue.places) == 1 })
	resp, body := s.get(t, "/")
	wantProblem(t, resp, body, 503, CodeQueue, "50ms")
	h.release()
	if status := <-h.status; status != 204 {
		t.Errorf("the request that ran got %d", status)
	}
	none := serve(t, waiter(), Config{Concurrency: 1, Queue: -1})
	hold(t, none)
	eventually(t, "a request that runs", func() bool { return len(none.handler.queue.places) == 1 })
	resp, body = none.get(t, "/")
	wantProblem(t, resp, body, 503, CodeQueue, "full")
}

// Requests beside a looping one are answered, and not much later than without it.
func TestNeighboursOfALoop(t *testing.T) {
	s := apiServer(t, Config{WallTime: 3 * time.Second})
	s.get(t, "/hits")
	median := func() time.Duration {
		took := make([]time.Duration, 9)
		for i := range took {
			start := time.Now()
			if _, body := s.get(t, "/hits"); body != "1" {
				t.Errorf("a neighbour got %q", body)
			}
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	alone := median()
	var wg sync.WaitGroup
	wg.Go(func() {
		resp, body := s.get(t, "/loop")
		wantProblem(t, resp, body, 504, CodeWallTime)
	})
	time.Sleep(100 * time.Millisecond)
	beside := median()
	wg.Wait()
	t.Logf("median alone %s, beside a loop %s", alone, beside)
	if beside > 20*alone+time.Second {
		t.Errorf("a neighbour waits %s beside a loop, %s without", beside, alone)
	}
}

func TestClose(t *testing.T) {
	s := serve(t, waiter(), Config{Concurrency: 1})
	running, waiting := hold(t, s), hold(t, s)
	q := s.handler.queue
	eventually(t, "one running and one waiting", func() bool { return len(q.places) == 1 && q.waiting.Load() == 1 })
	if err := s.handler.Close(); err != nil {
		t.Error(err)
	}
	for _, h := range []held{running, waiting} {
		if status := <-h.status; status != 503 {
			t.Errorf("a request under Close got %d", status)
		}
	}
	resp, body := s.get(t, "/")
	wantProblem(t, resp, body, 503, CodeClosing)
}

func TestConfigValidate(t *testing.T) {
	s := apiServer(t, Config{})
	good := s.handler.cfg
	for name, change := range map[string]func(c *Config){
		"no template": func(c *Config) { c.Template = nil },
		"wall time":   func(c *Config) { c.WallTime = -1 },
		"spec":        func(c *Config) { c.Spec.Env = []string{"bad"} },
	} {
		bad := good
		change(&bad)
		if _, err := NewHandler(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if wire.Module != module.HTTPModule || wire.HandleExport != module.HandleExport {
		t.Error("packages wire and module name the ABI differently")
	}
}
