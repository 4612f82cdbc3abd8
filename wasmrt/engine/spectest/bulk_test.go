package spectest

import (
	"fmt"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"github.com/tetratelabs/wazero/api"
)

// bulkModule exports fill and copy over a memory of four MiB, which begins as 0 1 2 … in each page's first bytes.
func bulkModule() []byte {
	i32 := module.I32
	typ := module.FuncType{Params: []module.ValueType{i32, i32, i32}}
	operands := []byte{0x20, 0, 0x20, 1, 0x20, 2}
	return moduletest.Build(moduletest.Module{
		Funcs: []moduletest.Func{
			{Name: "fill", Export: true, Type: typ, Body: moduletest.Then(operands, []byte{0xfc, 11, 0})},
			{Name: "copy", Export: true, Type: typ, Body: moduletest.Then(operands, []byte{0xfc, 10, 0, 0})},
		},
		HasMemory: true, Pages: 64, MaxPages: 64,
	})
}

// What is done in pieces is the same as what is done at once, also where pieces overlap and where it traps.
func TestBulkOperationsInPieces(t *testing.T) {
	const mib = 1 << 20
	var machines [2]*machine
	for i := range machines {
		m, err := newMachine(t.Context(), api.CoreFeaturesV2, nil, i == 1)
		if err != nil {
			t.Fatal(err)
		}
		defer m.runtime.Close(t.Context())
		if err := m.instantiate(t.Context(), bulkModule(), "", ""); err != nil {
			t.Fatal(err)
		}
		machines[i] = m
	}
	for _, args := range [][3]uint32{
		{10, 7, 3 * mib}, {0, 1, 4 * mib}, {0, 1, 4*mib + 1}, {5, 1, 0xffffffff}, {0xffffffff, 1, 2 * mib}, {mib, 3, mib}, {mib, 4, mib + 1},
		{0, 2 * mib, 2 * mib}, {100, 3, 3 * mib}, {3, 100, 3 * mib}, {0, 0, 3 * mib}, {mib / 2, 0, 3*mib + 5}, {0, mib / 2, 3*mib + 5},
		{mib, 4 * mib, 2 * mib}, {0, 3 * mib, mib + 1}, {3 * mib, 0, mib + 1}, {4 * mib, 4 * mib, 0}, {2 * mib, 0, 2 * mib},
	} {
		for _, name := range []string{"fill", "copy"} {
			var seen [2]string
			before := machines[1].yields
			for i, m := range machines {
				m.refill()
				memory := m.last.Memory()
				content, _ := memory.Read(0, memory.Size())
				for at := range content {
					content[at] = byte(at >> 8 * 31)
				}
				_, err := m.last.ExportedFunction(name).Call(t.Context(), uint64(args[0]), uint64(args[1]), uint64(args[2]))
				seen[i] = fmt.Sprintf("%s %x", trapOf(err), sum(content))
			}
			if seen[0] != seen[1] {
				t.Errorf("%s %v: plain %q, rewritten %q", name, args, seen[0], seen[1])
			}
			if yields := machines[1].yields - before; args[2] >= 2*mib && seen[0][0] == ' ' && yields < int(args[2]/mib) {
				t.Errorf("%s %v: %d yields", name, args, yields)
			}
		}
	}
}
