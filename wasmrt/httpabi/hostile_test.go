package httpabi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// hostile are guests that want more than they may have, and how each ends.
var hostile = []struct {
	name   string
	guest  moduletest.Module
	status int
	code   string
	says   string
}{
	{"endless loop", moduletest.Reactor(moduletest.Loop), 504, CodeCPUTime, module.HandleExport},
	{"recursion", moduletest.Reactor(moduletest.Call(3)), 502, CodeTrap, "call depth exceeded"},
	{"memory.grow", moduletest.Reactor(moduletest.GrowOrTrap()), 507, CodeMemory, "limit is 16 MiB"},
	{"host-call spin", moduletest.Reactor(moduletest.Then([]byte{0x03, 0x40}, moduletest.Const(0), moduletest.Const(0),
		moduletest.Call(1), []byte{0x1a, 0x0c, 0x00, 0x0b})), 504, CodeCPUTime, module.HandleExport},
	{"huge bulk operations", bulk(), 504, CodeCPUTime, module.HandleExport},
}

// bulk fills 16 MiB of memory again and again, each time in one instruction.
func bulk() moduletest.Module {
	m := moduletest.Reactor(moduletest.Then([]byte{0x03, 0x40}, moduletest.Const(0), moduletest.Const(7), moduletest.Const(16<<20),
		[]byte{0xfc, 0x0b, 0x00, 0x0c, 0x00, 0x0b})) // loop memory.fill br 0 end
	m.Pages = 16 << 20 / module.PageSize
	return m
}

// failures collects what a handler reports.
type failures struct {
	mu  sync.Mutex
	all []Failure
}

func (f *failures) add(one Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, one)
}

// Each ends as it should and is told of, and its neighbours in the same process are served meanwhile.
func TestHostileGuests(t *testing.T) {
	e, err := engine.New(context.Background(), engine.Config{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	load := func(m moduletest.Module, cfg Config) *Handler {
		tmpl, err := e.Load(t.Context(), moduletest.Build(m))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Template = tmpl
		h, err := NewHandler(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(h.Close(), tmpl.Close()); err != nil {
				t.Error(err)
			}
		})
		return h
	}
	ask := func(h *Handler) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w
	}
	neighbour := load(moduletest.Reactor(moduletest.Respond(204)), Config{})
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			var told failures
			h := load(tt.guest, Config{Spec: engine.Spec{CPUTime: 200 * time.Millisecond, MemoryLimit: 16 << 20}, OnFailure: told.add})
			var wg sync.WaitGroup
			ended := make(chan struct{})
			wg.Go(func() {
				defer close(ended)
				for range 2 { // what the first leaves behind serves the second
					w := ask(h)
					wantProblem(t, w.Result(), w.Body.String(), tt.status, tt.code, tt.says)
				}
			})
			var took []time.Duration
			for running := true; running; {
				select {
				case <-ended:
					running = false
				default:
				}
				begun := time.Now()
				if w := ask(neighbour); w.Code != 204 {
					t.Errorf("a neighbour got %d: %s", w.Code, w.Body)
				}
				took = append(took, time.Since(begun))
			}
			wg.Wait()
			slices.Sort(took)
			t.Logf("%d neighbours' requests, median %s, longest %s", len(took), took[len(took)/2], took[len(took)-1])
			if median := took[len(took)/2]; median > 500*time.Millisecond {
				t.Errorf("a neighbour waits %s", median)
			}
			if len(told.all) != 2 || told.all[0].Code != tt.code || !strings.Contains(told.all[0].Detail, tt.says) || tt.code != CodeMemory && told.all[0].Function == "" {
				t.Errorf("told of %+v", told.all)
			}
			if n := h.Stats().Problems[tt.code]; n != 2 {
				t.Errorf("counted %d times", n)
			}
		})
	}
}

// A guest whose client has gone may finish what it began, and then is ended.
func TestDisconnectGrace(t *testing.T) {
	s := apiServer(t, Config{})
	s.handler.grace = 150 * time.Millisecond
	for _, path := range []string{"/sleep?for=1h", "/loop"} {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			resp, err := s.Client().Do(s.request(t, http.MethodGet, path, nil).WithContext(ctx))
			if err == nil {
				resp.Body.Close()
			}
			gone <- err
		}()
		eventually(t, "a request that runs", func() bool { return len(s.handler.queue.places) == 1 })
		cancel()
		begun := time.Now()
		if err := <-gone; err == nil {
			t.Errorf("%s: the client was answered", path)
		}
		eventually(t, "the guest's end", func() bool { return len(s.handler.queue.places) == 0 })
		if took := time.Since(begun); took < s.handler.grace/2 || took > 30*time.Second {
			t.Errorf("%s: the guest ended %s after its client had gone", path, took)
		}
	}
}

// Isolation decides what a package variable is to the next request.
func TestIsolation(t *testing.T) {
	for isolation, want := range map[engine.Isolation]string{
		"": "1 1 1", engine.IsolationReset: "1 1 1", engine.IsolationFresh: "1 1 1", engine.IsolationShared: "1 2 3",
	} {
		s := apiServer(t, Config{Isolation: isolation, Concurrency: 1})
		var got []string
		for range 3 {
			_, body := s.get(t, "/hits")
			got = append(got, body)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("isolation %q: hits %v, want %s", isolation, got, want)
		}
	}
}
