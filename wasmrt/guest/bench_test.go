package guest

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// BenchmarkServe is what the SDK costs a request, natively.
func BenchmarkServe(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	head := wire.RequestHead{Method: "GET", URI: "/", Proto: "HTTP/1.1", Host: "localhost", Header: http.Header{"Accept": {"*/*"}}}
	h := &rehearsal{head: wire.AppendRequestHead(nil, &head)}
	b.ReportAllocs()
	for b.Loop() {
		spare = newSpare()
		serve(h, mux)
	}
}

// A request allocates nothing but what its handler does.
func TestServeAllocatesLittle(t *testing.T) {
	head := wire.RequestHead{Method: "GET", URI: "/a?b=c", Proto: "HTTP/1.1", Host: "localhost", Header: http.Header{"Accept": {"*/*"}}}
	h := &rehearsal{head: wire.AppendRequestHead(nil, &head)}
	made := testing.AllocsPerRun(100, func() { spare = newSpare() })
	served := testing.AllocsPerRun(100, func() {
		spare = newSpare()
		serve(h, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	})
	if served-made > 1 {
		t.Errorf("serving allocates %v times", served-made)
	}
}
