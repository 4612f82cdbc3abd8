package httpwasm_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/httpwasm"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler is a server with the streams and the errors of its guests.
type handler struct {
	*httpwasm.Server
	t              testing.TB
	stdout, stderr io.Writer
	failed         func(http.ResponseWriter, error)
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.Serve(r.Context(), w, r, h.stdout, h.stderr); err != nil {
		h.failed(w, err)
	}
}

// serve makes a server of a guest. An error fails the test, unless the caller sets another answer to it.
func serve(t testing.TB, wasm []byte, change func(*httpwasm.Config)) *handler {
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
	cfg := httpwasm.Config{Template: template}
	if change != nil {
		change(&cfg)
	}
	s, err := httpwasm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, close := range []func() error{s.Close, template.Close, e.Close} {
			if err := close(); err != nil {
				t.Error(err)
			}
		}
	})
	return &handler{Server: s, t: t, failed: func(_ http.ResponseWriter, err error) { t.Errorf("serve: %v", err) }}
}

// example reads one of the guests that http-wasm's host comes with.
func example(t testing.TB, name string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/http-wasm/http-wasm-host-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), name))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}
