package httpabi

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// clientGuest opens a request that is granted (handle 0, or none when the head is not good), calls one function of the
// client's module with the arguments twice, and answers 200 with nothing.
func clientGuest(name string, head []byte, args []int32) []byte {
	typ, _ := module.ServedType(module.HTTPClientModule, name)
	m := moduletest.Reactor(nil)
	m.Imports = append(m.Imports, moduletest.Served(module.HTTPClientModule, "request_open"), moduletest.Served(module.HTTPClientModule, name))
	m.Data = append([]byte{0}, head...)
	once := append(callHost(4, args[:len(typ.Params)]...), 0x1a)
	m.Funcs[0].Body = moduletest.Then(callHost(3, 1, int32(len(head))), []byte{0x1a}, once, once, moduletest.Respond(200))
	return moduletest.Build(m)
}

// FuzzClientCalls: no handle, pointer or length that a guest makes up does anything but return a number of the ABI.
func FuzzClientCalls(f *testing.F) {
	far := httptest.NewServer(nil)
	f.Cleanup(far.Close)
	policy, err := egress.Parse([]string{"*"})
	if err != nil {
		f.Fatal(err)
	}
	head := wire.AppendRequestHead(nil, &wire.RequestHead{Method: "POST", URI: far.URL, ContentLength: -1})
	names := module.ServedFunctions(module.HTTPClientModule)
	for i := range names {
		f.Add(uint8(i), []byte(nil), int32(0), int32(0), int32(1))
		f.Add(uint8(i), []byte(nil), int32(0), int32(1<<30), int32(1<<30))
		f.Add(uint8(i), []byte(nil), int32(-1), int32(-1), int32(-1))
		f.Add(uint8(i), []byte{1, 2, 3}, int32(1), int32(65_535), int32(2))
	}
	f.Fuzz(func(t *testing.T, which uint8, block []byte, a, b, c int32) {
		if len(block) == 0 {
			block = head
		} else {
			block = block[:min(len(block), 1000)]
		}
		name := names[int(which)%len(names)]
		if name == "wait" {
			a = int32(uint32(a) % 3) // milliseconds
		}
		e, err := engine.New(context.Background(), engine.Config{})
		if err != nil {
			t.Fatal(err)
		}
		template, err := e.Load(context.Background(), clientGuest(name, block, []int32{a, b, c}))
		if err != nil {
			t.Fatal(err)
		}
		h, err := NewHandler(Config{Template: template, Spec: engine.Spec{Egress: policy}})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", strings.NewReader("")))
		if w.Code != 200 {
			t.Errorf("%s(%d, %d, %d) after the head %x: %d %s", name, a, b, c, block, w.Code, w.Body)
		}
		if err := errors.Join(h.Close(), template.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestClientGuestOpens keeps the fuzz target honest: its head does open a request, with a grant.
func TestClientGuestOpens(t *testing.T) {
	far := httptest.NewServer(nil)
	defer far.Close()
	head := wire.AppendRequestHead(nil, &wire.RequestHead{Method: "GET", URI: far.URL})
	policy, err := egress.Parse([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	// The handle, or the error, is the status that the guest answers with, plus 300.
	m := moduletest.Reactor(nil)
	m.Imports = append(m.Imports, moduletest.Served(module.HTTPClientModule, "request_open"))
	m.Data = append([]byte{0}, head...)
	m.Funcs[0].Body = moduletest.Then(callHost(3, 1, int32(len(head))), moduletest.Const(300), []byte{0x6a}, moduletest.Const(0),
		moduletest.Const(1), moduletest.Call(0), []byte{0x1a})
	s := serve(t, moduletest.Build(m), Config{Spec: engine.Spec{Egress: policy}})
	if resp, _ := s.get(t, "/"); resp.StatusCode != 300 {
		t.Errorf("request_open returned %d", resp.StatusCode-300)
	}
	none := serve(t, moduletest.Build(m), Config{})
	if resp, _ := none.get(t, "/"); resp.StatusCode != 300+wire.ErrDenied {
		t.Errorf("without grants request_open returned %d", resp.StatusCode-300)
	}
}
