package module_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// maxSeed keeps whole programs out of the corpus: the fuzzer copies and mutates its seeds, so of a large one only the
// beginning is taken, which has the sections before the code.
const maxSeed = 64 << 10

func FuzzRead(f *testing.F) {
	reactor := moduletest.Reactor(moduletest.Respond(200))
	reactor.Name, reactor.TableSize, reactor.LastCustom = "seed", 2, []byte{1, 2, 3}
	seeds := [][]byte{
		nil, moduletest.Header(), moduletest.Exit(1), moduletest.Print("x"), moduletest.Sleep(1), moduletest.ReadStdin(),
		moduletest.Build(reactor), []byte("(module)"), []byte("\x00asm\x0d\x00\x01\x00"),
		withSections(moduletest.Section(moduletest.Element, []byte{1, 5, 0x70, 1, 0xd0, 0x70, 0x0b})),
		withSections(moduletest.Section(moduletest.Global, []byte{1, 0x7b, 0, 0xfd, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b})),
	}
	// The examples, when they are built.
	built, _ := filepath.Glob("../../examples/bin/*.wasm")
	for _, path := range built {
		if wasm, err := os.ReadFile(path); err == nil {
			seeds = append(seeds, wasm[:min(len(wasm), maxSeed)])
		}
	}
	for _, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)/2])
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		info, err := module.Check(wasm, module.Limits{})
		if err == nil {
			if info.Digest == "" || info.Kind == module.KindLibrary {
				t.Errorf("accepted without a digest or an entry point: %+v", info)
			}
			return
		}
		var refused *module.Error
		if !errors.As(err, &refused) || refused.Code == "" || refused.Cause == "" {
			t.Errorf("refused by %#v", err)
		}
	})
}
