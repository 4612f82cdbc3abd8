package httpwasm_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/httpwasm"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestApp runs http-wasm's example guests as the last of the chain.
func TestApp(t *testing.T) {
	t.Run("router", func(t *testing.T) {
		h := serve(t, example(t, "examples/router.wasm"), nil)
		if w := do(h, httptest.NewRequest("GET", "/", nil)); w.Code != 200 || w.Body.String() != "hello world" ||
			w.Header().Get("Content-Type") != "text/plain" {
			t.Errorf("got %d %v %q", w.Code, w.Header(), w.Body)
		}
		if w := do(h, httptest.NewRequest("GET", "/host/x", nil)); w.Code != 404 {
			t.Errorf("what is passed on gets %d, want 404", w.Code)
		}
	})
	t.Run("auth", func(t *testing.T) {
		h := serve(t, example(t, "examples/auth.wasm"), nil)
		if w := do(h, httptest.NewRequest("GET", "/", nil)); w.Code != 401 || w.Header().Get("Www-Authenticate") == "" {
			t.Errorf("without credentials: %d %v", w.Code, w.Header())
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth("Aladdin", "open sesame")
		if w := do(h, r); w.Code != 404 {
			t.Errorf("with credentials the next handler's 404 is wanted, got %d", w.Code)
		}
	})
	t.Run("log", func(t *testing.T) {
		var log bytes.Buffer
		h := serve(t, example(t, "examples/log.wasm"), nil)
		h.stderr = &log
		do(h, httptest.NewRequest("GET", "/", nil))
		if log.String() != "info: hello world\n" {
			t.Errorf("log %q", log.String())
		}
	})
	t.Run("config", func(t *testing.T) { // its start section wants eight bytes, and enables the features that they name
		h := serve(t, example(t, "examples/config.wasm"), func(c *httpwasm.Config) {
			c.Spec.Env = []string{httpwasm.ConfigVariable + "=first", httpwasm.ConfigVariable + "=\x07bcdefgh"}
		})
		if w := do(h, httptest.NewRequest("GET", "/", nil)); w.Code != 404 {
			t.Errorf("got %d, want the next handler's 404", w.Code)
		}
	})
}

// TestBuffers runs http-wasm's redact, which reads and changes both bodies.
func TestBuffers(t *testing.T) {
	var seen string
	h := serve(t, example(t, "examples/redact.wasm"), func(c *httpwasm.Config) {
		c.Spec.Env = []string{httpwasm.ConfigVariable + "=open sesame"}
		c.Next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			seen = string(body)
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, "the word is open sesame!")
		})
	})
	w := do(h, httptest.NewRequest("POST", "/", strings.NewReader("say open sesame now")))
	if seen != "say ########### now" {
		t.Errorf("the next handler saw %q", seen)
	}
	if w.Code != 202 || w.Body.String() != "the word is ###########!" {
		t.Errorf("the client got %d %q", w.Code, w.Body)
	}
}

// guest is a module whose handle_request has the body and the named imports, by their place; handle_response does nothing.
func guest(body []byte, imports ...string) []byte {
	m := moduletest.Module{HasMemory: true, Pages: 1, Data: []byte("x-name\x00value")}
	for _, name := range imports {
		m.Imports = append(m.Imports, moduletest.Served(module.HTTPWasmModule, name))
	}
	i32 := []module.ValueType{module.I32, module.I32}
	m.Funcs = []moduletest.Func{
		{Name: "handle_request", Type: module.FuncType{Results: []module.ValueType{module.I64}}, Body: body, Export: true},
		{Name: "handle_response", Type: module.FuncType{Params: i32}, Export: true},
	}
	return moduletest.Build(m)
}

func call(index uint32, args ...int32) []byte {
	var b []byte
	for _, a := range args {
		b = append(b, moduletest.Const(a)...)
	}
	return append(b, moduletest.Call(index)...)
}

var (
	done = moduletest.I64(0)
	next = moduletest.I64(1)
	drop = []byte{0x1a}
)

// TestNext: what the guest has set before it asks for the next handler is the answer.
func TestNext(t *testing.T) {
	for name, tt := range map[string]struct {
		body []byte
		code int
		text string
	}{
		"nothing":          {next, 404, "404 page not found\n"},
		"a status":         {moduletest.Then(call(0, 202), next), 202, ""},
		"a body":           {moduletest.Then(call(1, 1, 0, 6), next), 200, "x-name"},
		"answers itself":   {moduletest.Then(call(0, 418), call(1, 1, 7, 5), done), 418, "value"},
		"appends":          {moduletest.Then(call(1, 1, 0, 6), call(1, 1, 7, 5), done), 200, "x-namevalue"},
		"status after set": {moduletest.Then(call(0, 204), call(0, 201), done), 201, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := do(serve(t, guest(tt.body, "set_status_code", "write_body"), nil), httptest.NewRequest("GET", "/", nil))
			if w.Code != tt.code || w.Body.String() != tt.text {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.code, tt.text)
			}
		})
	}
}

// TestMisuse: each call that the ABI forbids, or that points outside the memory, ends the guest, and only it.
func TestMisuse(t *testing.T) {
	far := int32(1 << 30)
	for name, tt := range map[string]struct {
		body    []byte
		imports string
		says    string
	}{
		"a header kind":      {call(0, 9, 0, 6, 7, 5), "set_header_value", "header kind 9"},
		"names of a kind":    {append(call(0, 4, 0, 6), drop...), "get_header_names", "header kind 4"},
		"a nameless header":  {call(0, 1, 0, 0, 7, 5), "add_header_value", "name is empty"},
		"a body kind":        {call(0, 2, 0, 1), "write_body", "body kind 2"},
		"a read of nothing":  {append(call(0, 0, 0, 0), drop...), "read_body", "no room"},
		"a read far out":     {append(call(0, 0, far, 8), drop...), "read_body", "outside the memory"},
		"a write far out":    {call(0, 1, 0, far), "write_body", "outside the memory"},
		"a text far out":     {call(0, far, 4), "set_uri", "outside the memory"},
		"a method's room":    {append(call(0, far, 100), drop...), "get_method", "outside the memory"},
		"values far out":     {append(call(0, 0, far, 9, 0, 9), drop...), "get_header_values", "outside the memory"},
		"no method":          {call(0, 0, 0), "set_method", "method is empty"},
		"a URI":              {call(0, 0, 6), "set_uri", "URI"},
		"a status":           {call(0, 100), "set_status_code", "status 100"},
		"a negative pointer": {call(0, 0, -1, 4), "log", "outside the memory"},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, guest(append(tt.body, done...), tt.imports), nil)
			var failed error
			h.failed, h.stderr = func(_ http.ResponseWriter, err error) { failed = err }, io.Discard
			do(h, httptest.NewRequest("POST", "/", strings.NewReader("body")))
			var host *httpwasm.HostError
			var trap *engine.TrapError
			if !errors.As(failed, &host) || !errors.As(failed, &trap) || !strings.Contains(failed.Error(), tt.says) {
				t.Errorf("error %v, want a host error that says %q", failed, tt.says)
			}
		})
	}
}

func TestBufferLimit(t *testing.T) {
	enable := append(call(0, 3), drop...)
	read := append(call(1, 0, 64, 1000), drop...)
	for name, tt := range map[string]struct {
		wasm []byte
		next int // bytes of the next handler's answer
	}{
		"what is read":    {guest(moduletest.Then(enable, read, next), "enable_features", "read_body"), 0},
		"what is written": {guest(moduletest.Then(enable, call(1, 0, 0, 33), next), "enable_features", "write_body"), 0},
		"the answer":      {guest(moduletest.Then(enable, next), "enable_features", "write_body"), 33},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, tt.wasm, func(c *httpwasm.Config) {
				c.MaxBuffer = 32
				c.Next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, tt.next)) })
			})
			var failed error
			h.failed = func(_ http.ResponseWriter, err error) { failed = err }
			do(h, httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", 40))))
			var full *httpwasm.BufferError
			if !errors.As(failed, &full) {
				t.Fatalf("error %v, want a buffer error", failed)
			}
			var host *httpwasm.HostError
			if errors.As(failed, &host) {
				if status, code, _, _ := host.Problem(); status != 413 || code != "request_too_large" {
					t.Errorf("problem %d %s", status, code)
				}
			}
		})
	}
}

// TestIsolation: what one request leaves in the guest's memory is not there for the next.
func TestIsolation(t *testing.T) {
	// If byte 100 is set, answer 500; set it; answer 200.
	body := moduletest.Then(
		moduletest.Const(100), []byte{0x2d, 0, 0, 0x04, 0x40}, call(0, 500), []byte{0x0b}, // if i32.load8_u
		moduletest.Const(100), moduletest.Const(1), []byte{0x3a, 0, 0}, // i32.store8
		done)
	h := serve(t, guest(body, "set_status_code"), nil)
	for range 3 {
		if w := do(h, httptest.NewRequest("GET", "/", nil)); w.Code != 200 {
			t.Fatalf("a request saw what another wrote: %d", w.Code)
		}
	}
	if stats := h.Stats(); stats.Calls < 3 {
		t.Errorf("stats %+v", stats)
	}
	if _, err := h.Measure(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStart: a guest that traps while it is initialised answers nothing, and says so each time.
func TestStart(t *testing.T) {
	h := serve(t, example(t, "internal/test/testdata/error/panic_on_start.wasm"), nil)
	for range 2 {
		var failed error
		h.failed, h.stderr = func(_ http.ResponseWriter, err error) { failed = err }, io.Discard
		do(h, httptest.NewRequest("GET", "/", nil))
		var trap *engine.TrapError
		if !errors.As(failed, &trap) {
			t.Errorf("error %v, want a trap", failed)
		}
	}
	if _, err := h.Measure(t.Context()); err == nil {
		t.Error("a guest that cannot start is measured")
	}
}

func TestConfigValidate(t *testing.T) {
	if _, err := httpwasm.New(httpwasm.Config{}); err == nil {
		t.Error("a config without a template is accepted")
	}
}
