package httpwasm_test

import (
	"net/http/httptest"
	"testing"

	"github.com/http-wasm/http-wasm-host-go/tck"

	"github.com/petrelrun/petrel/wasmrt/httpabi/httpwasm"
)

// TestConformance runs http-wasm's own checks, with their guest (TinyGo) in front of their backend.
func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name  string
		http2 bool
	}{{"HTTP 1.1", false}, {"HTTP 2", true}} {
		t.Run(tt.name, func(t *testing.T) {
			h := serve(t, tck.GuestWASM, func(c *httpwasm.Config) { c.Next = tck.BackendHandler() })
			server := httptest.NewUnstartedServer(h)
			if server.EnableHTTP2 = tt.http2; tt.http2 {
				server.StartTLS()
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			tck.Run(t, server.Client(), server.URL)
		})
	}
}
