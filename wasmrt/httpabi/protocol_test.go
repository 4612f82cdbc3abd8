package httpabi

import (
	"bytes"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// httpWasmGuest has the body in handle_request, and set_status_code, write_body and read_body to call.
func httpWasmGuest(body []byte) []byte {
	m := moduletest.Module{HasMemory: true, Pages: 1, Data: []byte("hello, world")}
	for _, name := range []string{"set_status_code", "write_body", "read_body", "log"} {
		m.Imports = append(m.Imports, moduletest.Served(module.HTTPWasmModule, name))
	}
	m.Funcs = []moduletest.Func{
		{Name: "handle_request", Type: module.FuncType{Results: []module.ValueType{module.I64}}, Body: body, Export: true},
		{Name: "handle_response", Type: module.FuncType{Params: []module.ValueType{module.I32, module.I32}}, Export: true},
	}
	return moduletest.Build(m)
}

func callHost(index uint32, args ...int32) []byte {
	var b []byte
	for _, a := range args {
		b = append(b, moduletest.Const(a)...)
	}
	return append(b, moduletest.Call(index)...)
}

func TestHTTPWasm(t *testing.T) {
	hello := moduletest.Then(callHost(3, 0, 0, 5), callHost(0, 201), callHost(1, 1, 0, 12), moduletest.I64(0))
	s := serve(t, httpWasmGuest(hello), Config{})
	resp, body := s.get(t, "/")
	if resp.StatusCode != 201 || body != "hello, world" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	if s.log.String() != "info: hello\n" {
		t.Errorf("log %q", s.log)
	}
	if _, err := s.handler.Measure(t.Context()); err != nil {
		t.Error(err)
	}
	for name, tt := range map[string]struct {
		body   []byte
		status int
		code   string
		says   string
	}{
		"no next handler":  {moduletest.I64(1), 404, CodeNoNext, "no next handler"},
		"a trap":           {moduletest.Unreachable, 502, CodeTrap, "handle_request"},
		"a forbidden call": {moduletest.Then(callHost(0, 100), moduletest.I64(0)), 502, CodeTrap, "status 100"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, httpWasmGuest(tt.body), Config{})
			resp, body := s.get(t, "/")
			wantProblem(t, resp, body, tt.status, tt.code, tt.says)
		})
	}
	t.Run("an endless loop", func(t *testing.T) {
		s := serve(t, httpWasmGuest(moduletest.Then(moduletest.Loop, moduletest.I64(0))), Config{WallTime: 100 * time.Millisecond})
		resp, body := s.get(t, "/")
		wantProblem(t, resp, body, 504, CodeWallTime, "100ms")
	})
}

// A guest that reads a client who says nothing more is ended, and the client is told.
func TestHTTPWasmStalledUpload(t *testing.T) {
	read := moduletest.Then(callHost(2, 0, 100, 1000), []byte{0x1a}, moduletest.I64(0))
	s := serve(t, httpWasmGuest(read), Config{WallTime: 200 * time.Millisecond})
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 504 ")) || !bytes.Contains(answer, []byte(CodeWallTime)) {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func TestWAGI(t *testing.T) {
	s := serve(t, moduletest.Print("Status: 201\nContent-Type: text/plain\n\nhello"), Config{Spec: engine.Spec{Args: []string{"app"}}})
	if resp, body := s.get(t, "/"); resp.StatusCode != 201 || body != "hello" || resp.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("got %d %v %q", resp.StatusCode, resp.Header, body)
	}
	for name, tt := range map[string]struct {
		wasm   []byte
		status int
		code   string
		says   string
	}{
		"no response": {moduletest.Exit(0), 502, CodeNoResponse, "before the end of a head"},
		"no head":     {moduletest.Print("hello\n\n"), 502, CodeNoResponse, "no header field"},
		"an exit":     {moduletest.Exit(3), 502, CodeGuestExit, "code 3"},
		"a trap":      {moduletest.Build(moduletest.Command(moduletest.Unreachable)), 502, CodeTrap, "_start"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tt.wasm, Config{})
			resp, body := s.get(t, "/")
			wantProblem(t, resp, body, tt.status, tt.code, tt.says)
		})
	}
	t.Run("an endless loop", func(t *testing.T) {
		s := serve(t, moduletest.Build(moduletest.Command(moduletest.Loop)), Config{WallTime: 100 * time.Millisecond})
		resp, body := s.get(t, "/")
		wantProblem(t, resp, body, 504, CodeWallTime, "100ms")
	})
	t.Run("a body where none may be", func(t *testing.T) {
		s := serve(t, moduletest.Print("Status: 204\n\nnothing to see"), Config{})
		if resp, body := s.get(t, "/"); resp.StatusCode != 204 || body != "" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	})
	t.Run("a HEAD request", func(t *testing.T) {
		s := serve(t, moduletest.Print("Content-Type: text/plain\n\nhello"), Config{})
		if resp, body := s.do(t, s.request(t, "HEAD", "/", nil)); resp.StatusCode != 200 || body != "" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	})
	t.Run("a response over the limit", func(t *testing.T) {
		s := serve(t, moduletest.Print("A: b\n\n"+strings.Repeat("x", 100)), Config{MaxResponseBody: 10})
		resp, err := s.Client().Get(s.URL)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil {
			t.Error("the client takes what is cut for the whole")
		}
	})
}

func TestABIs(t *testing.T) {
	s := serve(t, moduletest.Exit(0), Config{})
	for _, abi := range []module.ABI{module.ABISockets, module.ABICommand, "fastcgi"} {
		if _, err := NewHandler(Config{Template: s.handler.cfg.Template, ABI: abi}); err == nil {
			t.Errorf("a handler of %s is made", abi)
		}
	}
	if _, err := NewHandler(Config{Template: s.handler.cfg.Template, ABI: module.ABIHTTPWasm}); err == nil {
		t.Error("a command is served as an http-wasm guest")
	}
	if _, err := NewHandler(Config{Template: s.handler.cfg.Template, Isolation: "none"}); err == nil {
		t.Error("an isolation that is none is accepted")
	}
}

// A client that goes in the middle of an answer is not the guest's failure.
func TestProtocolClientGone(t *testing.T) {
	forever := moduletest.Then([]byte{0x03, 0x40}, callHost(1, 1, 0, 60_000), []byte{0x0c, 0x00, 0x0b}, moduletest.I64(0)) // loop
	failures := make(chan Failure, 1)
	s := serve(t, httpWasmGuest(forever), Config{OnFailure: func(f Failure) { failures <- f }})
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for begun := time.Now(); s.handler.Stats().Running > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("the guest goes on without a client")
		}
	}
	select {
	case f := <-failures:
		t.Errorf("the guest is blamed: %+v", f)
	default:
	}
}

// TestProtocolLimits: the limits around a reactor are around the other ABIs too.
func TestProtocolLimits(t *testing.T) {
	recursion := func(call uint32) []byte { return moduletest.Call(call) }
	for name, guest := range map[string]func(body []byte) []byte{
		"http-wasm": func(body []byte) []byte { return httpWasmGuest(moduletest.Then(body, moduletest.I64(0))) },
		"WAGI":      func(body []byte) []byte { return moduletest.Build(moduletest.Command(body)) },
	} {
		deep := recursion(4)
		if name == "http-wasm" {
			deep = append(deep, 0x1a) // its result
		}
		for limit, tt := range map[string]struct {
			body   []byte
			spec   engine.Spec
			status int
			code   string
		}{
			"processor time": {moduletest.Loop, engine.Spec{CPUTime: 50 * time.Millisecond}, 504, CodeCPUTime},
			"memory":         {moduletest.GrowOrTrap(), engine.Spec{MemoryLimit: 1 << 20}, 507, CodeMemory},
			"call depth":     {deep, engine.Spec{CallDepth: 100}, 502, CodeTrap},
		} {
			t.Run(name+" "+limit, func(t *testing.T) {
				failures := make(chan Failure, 1)
				s := serve(t, guest(tt.body), Config{Spec: tt.spec, OnFailure: func(f Failure) { failures <- f }})
				resp, body := s.get(t, "/")
				wantProblem(t, resp, body, tt.status, tt.code)
				if f := <-failures; f.Code != tt.code {
					t.Errorf("failure %+v", f)
				}
			})
		}
	}
}

func BenchmarkHTTPWasm(b *testing.B) {
	s := serve(b, httpWasmGuest(moduletest.Then(callHost(1, 1, 0, 12), moduletest.I64(0))), Config{})
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	for b.Loop() {
		w.Body.Reset()
		s.handler.ServeHTTP(w, r)
	}
}

// TestProtocolDuplex: a guest may answer while the request's body is still coming.
func TestProtocolDuplex(t *testing.T) {
	zero := moduletest.Const(0)
	echo := moduletest.Then(
		[]byte{0x03, 0x40},                                   // loop
		zero, callHost(2, 0, 1000, 1000), []byte{0x37, 3, 8}, // i64.store offset=8 (read_body(0, 1000, 1000))
		moduletest.Const(1), moduletest.Const(1000), zero, []byte{0x28, 2, 8}, moduletest.Call(1), // write_body(1, 1000, i32.load offset=8)
		zero, []byte{0x28, 2, 12, 0x45, 0x0d, 0, 0x0b}, // br_if 0 (i32.eqz (i32.load offset=12)); end
		moduletest.I64(0))
	s := serve(t, httpWasmGuest(echo), Config{})
	sent := strings.Repeat("0123456789", 10_000) // less than what a server would throw away when the response begins
	resp, body := s.do(t, s.request(t, "POST", "/", strings.NewReader(sent)))
	if resp.StatusCode != 200 || body != sent {
		t.Errorf("status %d, %d of %d bytes came back", resp.StatusCode, len(body), len(sent))
	}
}
