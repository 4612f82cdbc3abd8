package wagi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func server(t testing.TB, wasm []byte, change func(*Config)) *Server {
	t.Helper()
	cache := t.TempDir()
	moduletest.Precompile(t, cache, wasm)
	e, err := engine.New(context.Background(), engine.Config{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	template, err := e.Load(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Template: template, Spec: engine.Spec{Args: []string{"app"}}}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), template.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func do(t testing.TB, s *Server, r *http.Request) (*httptest.ResponseRecorder, string, error) {
	t.Helper()
	w := httptest.NewRecorder()
	var stderr bytes.Buffer
	err := s.Serve(t.Context(), w, r, nil, &stderr)
	return w, stderr.String(), err
}

func TestServe(t *testing.T) {
	s := server(t, moduletest.Print("Status: 201\nContent-Type: text/x\n\nhello"), nil)
	w, _, err := do(t, s, httptest.NewRequest("GET", "/", nil))
	if err != nil || w.Code != 201 || w.Header().Get("Content-Type") != "text/x" || w.Body.String() != "hello" {
		t.Errorf("got %d %v %q, %v", w.Code, w.Header(), w.Body, err)
	}
	if stats := s.Stats(); stats.Fresh != 1 || stats.GuestTime <= 0 || stats.Fuel == 0 || stats.CPUTime <= 0 {
		t.Errorf("stats %+v", stats)
	}
	cold, err := s.Measure(t.Context())
	if err != nil || cold.Snapshotted || cold.Reason != "command" {
		t.Errorf("cold start %+v, %v", cold, err)
	}
}

func TestServeFailures(t *testing.T) {
	tests := []struct {
		name  string
		wasm  []byte
		began bool
		check func(error) bool
	}{
		{"no output", moduletest.Exit(0), false, isResponseError("before the end of a head")},
		{"half a head", moduletest.Print("Content-Type: a\n"), false, isResponseError("before the end of a head")},
		{"no head", moduletest.Print("hello world\n\n"), false, isResponseError("no header field")},
		{"exit", moduletest.Exit(3), false, func(err error) bool {
			var exit *engine.ExitError
			return errors.As(err, &exit) && exit.Code == 3
		}},
		{"trap", moduletest.Build(moduletest.Command(moduletest.Unreachable)), false, func(err error) bool {
			var trap *engine.TrapError
			return errors.As(err, &trap)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, _, err := do(t, server(t, tt.wasm, nil), httptest.NewRequest("GET", "/", nil))
			if err == nil || !tt.check(err) {
				t.Errorf("error %v", err)
			}
			if w.Body.Len() > 0 || len(w.Header()) > 0 {
				t.Errorf("something was answered: %v %q", w.Header(), w.Body)
			}
		})
	}
}

func isResponseError(says string) func(error) bool {
	return func(err error) bool {
		var bad *ResponseError
		if !errors.As(err, &bad) {
			return false
		}
		status, code, detail, fix := bad.Problem()
		return status == 502 && code == "no_response" && strings.Contains(detail, says) && fix != ""
	}
}

func TestServeKills(t *testing.T) {
	s := server(t, moduletest.Build(moduletest.Command(moduletest.Loop)), nil)
	over := errors.New("time is over")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, over)
	defer cancel()
	err := s.Serve(ctx, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), nil, io.Discard)
	if !errors.Is(err, over) {
		t.Errorf("error %v, want %v", err, over)
	}
}

func TestUnknownLength(t *testing.T) {
	s := server(t, moduletest.Print("A: b\n\n"), func(c *Config) { c.MaxBuffer = 10 })
	chunked := func(body string) *http.Request {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.ContentLength = -1
		return r
	}
	if w, _, err := do(t, s, chunked("0123456789")); err != nil || w.Code != 200 {
		t.Errorf("ten bytes: %d, %v", w.Code, err)
	}
	var tooLong *LengthError
	if _, _, err := do(t, s, chunked("0123456789a")); !errors.As(err, &tooLong) {
		t.Errorf("eleven bytes: %v", err)
	} else if status, code, _, _ := tooLong.Problem(); status != 413 || code != "request_too_large" {
		t.Errorf("problem %d %s", status, code)
	}
}

// slow is a client that takes nothing until it is let go.
type slow struct {
	*httptest.ResponseRecorder
	letGo chan struct{}
}

func (s slow) Write(p []byte) (int, error) {
	<-s.letGo
	return s.ResponseRecorder.Write(p)
}

func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	w := slow{httptest.NewRecorder(), make(chan struct{})}
	out := &output{w: w}
	wrote := make(chan error, 1)
	go func() {
		_, err := out.Write([]byte("A: b\n\nbody"))
		wrote <- err
	}()
	time.Sleep(10 * time.Millisecond)
	close(w.letGo)
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if began, err := out.close(); !began || err != nil {
		t.Errorf("closed: began %v, %v", began, err)
	}
	if _, err := out.Write([]byte("more")); !errors.Is(err, errEnded) || w.Body.String() != "body" {
		t.Errorf("a late write: %v, body %q", err, w.Body)
	}
	in := &input{r: strings.NewReader("x")}
	in.close()
	if n, err := in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errEnded) {
		t.Errorf("a late read: %d, %v", n, err)
	}
}

func TestHeadInPieces(t *testing.T) {
	w := httptest.NewRecorder()
	out := &output{w: w}
	for _, b := range []byte("Content-Type: text/event-stream\r\n\r\ndata: 1\n\n") {
		if _, err := out.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if !w.Flushed || w.Body.String() != "data: 1\n\n" {
		t.Errorf("flushed %v, body %q", w.Flushed, w.Body)
	}
}

func TestConfigValidate(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a config without a template is accepted")
	}
	s := server(t, moduletest.Exit(0), nil)
	if _, err := New(Config{Template: s.cfg.Template, MaxBuffer: -1}); err == nil {
		t.Error("a negative buffer is accepted")
	}
}
