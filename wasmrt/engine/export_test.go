package engine

import (
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
)

func TestRunnable(t *testing.T) {
	function := func(name string, params, results []module.ValueType) module.Export {
		return module.Export{Name: name, Kind: module.KindFunction, Type: module.FuncType{Params: params, Results: results}}
	}
	one := []module.ValueType{module.I32}
	info := &module.Info{Exports: []module.Export{
		function("plain", nil, nil), function("answers", nil, one), function("asks", one, nil),
		function("two", nil, []module.ValueType{module.I32, module.I32}), function("wide", nil, []module.ValueType{module.I64}),
		{Name: "memory", Kind: module.KindMemory},
	}}
	for name, want := range map[string]bool{"plain": true, "answers": true, "asks": false, "two": false, "wide": false, "memory": false, "none": false} {
		if Runnable(info, name) != want {
			t.Errorf("%s: want %v", name, want)
		}
	}
}
