package httpabi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// BenchmarkRequest is one request in a fresh instance, beside the same answer of a native handler. Over a connection, and
// the handler alone.
func BenchmarkRequest(b *testing.B) {
	native := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello from Petrel\n") })
	hello := serve(b, moduletest.BuildGo(b, "../../examples/hello", true), Config{})
	tiny := serve(b, moduletest.Build(moduletest.Reactor(moduletest.Respond(200))), Config{})
	handlers := []struct {
		name    string
		handler http.Handler
	}{{"native", native}, {"tiny", tiny.handler}, {"go", hello.handler}}
	for _, h := range handlers {
		b.Run("handler/"+h.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for b.Loop() {
				w := httptest.NewRecorder()
				if h.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
	for _, h := range handlers {
		b.Run("connection/"+h.name, func(b *testing.B) {
			s := httptest.NewServer(h.handler)
			defer s.Close()
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
