package httpwasm_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/httpwasm"
	"github.com/petrelrun/petrel/wasmrt/module"
)

// FuzzHostCalls calls every function of the ABI twice with any arguments: what the guest does wrong is told as such, and
// nothing else goes wrong.
func FuzzHostCalls(f *testing.F) {
	names := module.ServedFunctions(module.HTTPWasmModule)
	for i := range names {
		f.Add(uint8(i), int32(0), int32(0), int32(6), int32(7), int32(5))
		f.Add(uint8(i), int32(-1), int32(-1), int32(-1), int32(-1), int32(-1))
		f.Add(uint8(i), int32(1), int32(65_530), int32(6), int32(65_530), int32(7))
		f.Add(uint8(i), int32(65_535), int32(2), int32(1<<30), int32(0), int32(1<<30))
	}
	f.Fuzz(func(t *testing.T, which uint8, a, b, c, d, e int32) {
		name := names[int(which)%len(names)]
		typ, _ := module.ServedType(module.HTTPWasmModule, name)
		body := call(0, []int32{a, b, c, d, e}[:len(typ.Params)]...)
		if len(typ.Results) > 0 {
			body = append(body, drop...)
		}
		body = append(append(body, body...), done...)
		h := serve(t, guest(body, name), func(c *httpwasm.Config) { c.MaxBuffer = 100 })
		var failed error
		h.failed, h.stderr = func(_ http.ResponseWriter, err error) { failed = err }, io.Discard
		r := httptest.NewRequest("POST", "/path?query", strings.NewReader("a body"))
		r.Header.Set("X-Name", "value")
		do(h, r)
		var host *httpwasm.HostError
		var trap *engine.TrapError
		if failed != nil && (!errors.As(failed, &host) || !errors.As(failed, &trap)) {
			t.Errorf("%s(%d, %d, %d, %d, %d): %v", name, a, b, c, d, e, failed)
		}
	})
}
