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

// FuzzRewriteReads rewrites whatever can be read: it is refused with a reason, or can be read again. That the engine
// takes it, and that it does the same, is held by wasmrt/engine/spectest.
func FuzzRewriteReads(f *testing.F) {
	reactor := moduletest.Reactor(moduletest.Respond(200))
	reactor.Name, reactor.TableSize = "seed", 2
	for _, s := range [][]byte{
		moduletest.Build(reactor), moduletest.Print("x"), moduletest.Build(moduletest.Command(moduletest.Loop)),
		moduletest.Build(moduletest.Command(moduletest.GrowOrTrap())),
		withGlobals(oneBody, moduletest.Section(moduletest.Data, []byte{1, 0, 0x41, 8, 0x0b, 1, 'a'})),
	} {
		f.Add(s, byte(7))
	}
	f.Fuzz(func(t *testing.T, wasm []byte, options byte) {
		info, err := module.Read(wasm, module.Limits{})
		if err != nil {
			return
		}
		o := module.RewriteOptions{Meter: options&1 != 0, CallDepth: options&2 != 0, Snapshot: options&4 != 0}
		r, err := module.Rewrite(wasm, info, o)
		var refused *module.Error
		if err != nil {
			if !errors.As(err, &refused) || refused.Cause == "" {
				t.Errorf("refused by %#v", err)
			}
			return
		}
		again, err := module.Read(r.Wasm, module.Limits{MaxSize: 1 << 40, MaxNameLength: 1 << 30, MaxImports: 1 << 20, MaxExports: 1 << 20, MaxLocals: 1 << 20, MaxTypes: 1 << 20, MaxGlobals: 1 << 20})
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if again.Functions != info.Functions && again.Functions != info.Functions+2 || again.MemoryMinPages != info.MemoryMinPages || again.ElementSegments != info.ElementSegments {
			t.Errorf("read again: %+v, before: %+v", again, info)
		}
		if outline, err := module.Outline(r.Wasm); err != nil || len(outline) > len(r.Wasm)+10*int(info.Functions) {
			t.Errorf("its outline: %d bytes, %v", len(outline), err)
		}
	})
}
