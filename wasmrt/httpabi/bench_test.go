package httpabi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// quiet is a ResponseWriter that costs nothing.
type quiet struct {
	header http.Header
	status int
}

func (q *quiet) Header() http.Header         { return q.header }
func (q *quiet) WriteHeader(status int)      { q.status = status }
func (q *quiet) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkRequest is a request by isolation, beside the same answer of a native handler: the handler alone, and over a
// connection.
func BenchmarkRequest(b *testing.B) {
	native := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello from Petrel\n") })
	hello := moduletest.BuildGo(b, "../../examples/hello", true)
	handlers := []struct {
		name    string
		handler http.Handler
	}{
		{"native", native},
		{"tiny", serve(b, moduletest.Build(moduletest.Reactor(moduletest.Respond(200))), Config{}).handler},
		{"go-reset", serve(b, hello, Config{}).handler},
		{"go-shared", serve(b, hello, Config{Isolation: engine.IsolationShared}).handler},
	}
	for _, h := range handlers {
		b.Run("handler/"+h.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			b.ReportAllocs()
			for b.Loop() {
				w := &quiet{header: http.Header{}}
				if h.handler.ServeHTTP(w, r); w.status > http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
	for _, h := range handlers {
		b.Run("connection/"+h.name, func(b *testing.B) {
			s := httptest.NewServer(h.handler)
			defer s.Close()
			b.ReportAllocs()
			for b.Loop() {
				resp, err := s.Client().Get(s.URL)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp, err)
				}
				_ = resp.Body.Close()
			}
		})
	}
}
