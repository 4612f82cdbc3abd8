package wasmtest

import (
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/module"
)

// TestModulesAreSound keeps mistakes in these modules from looking like mistakes in what they test.
func TestModulesAreSound(t *testing.T) {
	for name, tt := range map[string]struct {
		wasm []byte
		kind module.Kind
	}{
		"Print":     {Print("out\n", "err\n", 3), module.KindCommand},
		"Args":      {Args(), module.KindCommand},
		"Env":       {Env(), module.KindCommand},
		"Sleep":     {Sleep("x", time.Second), module.KindCommand},
		"Loop":      {Loop(), module.KindCommand},
		"Trap":      {Trap(), module.KindCommand},
		"Hog":       {Hog(), module.KindCommand},
		"Serve":     {Serve("hello", "log\n", time.Second), module.KindReactor},
		"Spin":      {Spin(), module.KindReactor},
		"Stillborn": {Stillborn(), module.KindReactor},
		"Large":     {Large(100), module.KindReactor},
	} {
		info, err := module.Check(tt.wasm, module.Limits{})
		if err != nil || info.Kind != tt.kind {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
