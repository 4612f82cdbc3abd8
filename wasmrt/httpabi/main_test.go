package httpabi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"go.uber.org/goleak"
)

// cacheDir keeps compiled guests for all tests of a run.
var cacheDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "petrel-httpabi")
	if err != nil {
		panic(err)
	}
	cacheDir = filepath.Join(dir, "cache")
	code := m.Run()
	_ = os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// server is a Handler behind a real server.
type server struct {
	*httptest.Server
	handler *Handler
	log     *logBuffer
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// serve puts a module behind a server. Fields of cfg but the template are kept.
func serve(t testing.TB, wasm []byte, cfg Config) *server {
	t.Helper()
	e, err := engine.New(context.Background(), engine.Config{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	if len(wasm) > 100_000 {
		moduletest.Precompile(t, cacheDir, wasm)
	}
	cfg.Template, err = e.Load(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{log: &logBuffer{}}
	cfg.Spec.Stdout, cfg.Spec.Stderr = s.log, s.log
	if s.handler, err = NewHandler(cfg); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(s.handler)
	s.Server.Start()
	t.Cleanup(func() {
		s.Client().CloseIdleConnections()
		if err := s.handler.Close(); err != nil {
			t.Error(err)
		}
		s.Server.Close()
		if err := errors.Join(cfg.Template.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

var apiGuest struct {
	once sync.Once
	wasm []byte
}

func apiServer(t testing.TB, cfg Config) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a Go guest")
	}
	apiGuest.once.Do(func() { apiGuest.wasm = moduletest.BuildGo(t, "testdata/api", true) })
	return serve(t, apiGuest.wasm, cfg)
}

func (s *server) do(t testing.TB, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read body: %v", r.Method, r.URL, err)
	}
	return resp, string(body)
}

func (s *server) get(t testing.TB, path string) (*http.Response, string) {
	t.Helper()
	return s.do(t, s.request(t, http.MethodGet, path, nil))
}

func (s *server) request(t testing.TB, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantProblem checks an answer that tells what went wrong.
func wantProblem(t testing.TB, resp *http.Response, body string, status int, code string, says ...string) {
	t.Helper()
	var p Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%s: %q is no problem: %v", resp.Status, body, err)
	}
	if resp.StatusCode != status || p.Status != status || p.Code != code || p.Type != "urn:petrel:problem:"+code || p.Title == "" {
		t.Errorf("status %d, problem %+v, want %d %s", resp.StatusCode, p, status, code)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q", ct)
	}
	for _, s := range says {
		if !strings.Contains(p.Detail, s) {
			t.Errorf("detail %q does not say %q", p.Detail, s)
		}
	}
}
