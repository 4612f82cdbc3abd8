package spectest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero/api"
)

// run instantiates a generated module and calls its functions, and describes everything that can be seen of it: results,
// traps, globals, memory.
func run(ctx context.Context, wasm []byte, rewrite bool) (seen []string, yields int, err error) {
	m, err := newMachine(ctx, api.CoreFeaturesV2, nil, rewrite)
	if err != nil {
		return nil, 0, err
	}
	defer m.runtime.Close(ctx)
	if err := m.instantiate(ctx, wasm, "", ""); err != nil {
		return nil, 0, err
	}
	for f := range functions {
		for _, args := range [][]uint64{{0, 1}, {7, 0xffffffff}} {
			m.refill()
			results, err := m.last.ExportedFunction(string(rune('a'+f))).Call(ctx, args...)
			if err == nil {
				err = m.leaks()
			}
			what := trapOf(err)
			for _, r := range results {
				what += fmt.Sprintf(" %x", uint32(r))
			}
			for i := range globals + 1 {
				what += fmt.Sprintf(" g%d=%x", i, uint32(m.last.ExportedGlobal(fmt.Sprintf("g%d", i)).Get()))
			}
			memory := m.last.Memory()
			content, _ := memory.Read(0, memory.Size())
			what += fmt.Sprintf(" memory %d %x", memory.Size(), sum(content))
			seen = append(seen, what)
		}
	}
	return seen, m.yields, nil
}

func sum(b []byte) (h uint64) {
	for i, c := range b {
		h = h*1_099_511_628_211 + uint64(c)*uint64(i+1)
	}
	return h
}

func compare(t *testing.T, data []byte) (yields int) {
	t.Helper()
	wasm := (&generator{data: data}).module()
	plain, _, err := run(t.Context(), wasm, false)
	if err != nil {
		t.Fatalf("the generator made something invalid: %v", err)
	}
	rewritten, yields, err := run(t.Context(), wasm, true)
	if err != nil {
		t.Fatalf("rewritten: %v", err)
	}
	for i := range plain {
		if plain[i] != rewritten[i] {
			t.Errorf("call %d: plain %q, rewritten %q", i, plain[i], rewritten[i])
		}
	}
	return yields
}

// Generated programs do the same as they are and rewritten.
func TestProgramsDoTheSame(t *testing.T) {
	const programs, size = 150 / oneOf, 600
	yields := 0
	for seed := range programs {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		yields += compare(t, data)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if yields < programs {
		t.Errorf("only %d yields: the programs are too short to show anything", yields)
	}
}

// FuzzProgram is the same for whatever the fuzzer finds.
func FuzzProgram(f *testing.F) {
	for seed := range 8 {
		f.Add(bytes.Repeat([]byte{byte(seed * 31), 7, byte(seed), 201}, 50))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		compare(t, data)
	})
}

// FuzzRewrite gives wazero what comes of rewriting: a module that it takes must be taken rewritten, and one that it
// refuses must be refused.
func FuzzRewrite(f *testing.F) {
	for seed := range 4 {
		f.Add((&generator{data: bytes.Repeat([]byte{byte(seed * 31), 7, byte(seed)}, 50)}).module())
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		if len(wasm) > 1<<16 {
			return
		}
		info, err := module.Read(wasm, module.Limits{})
		if err != nil {
			return // it goes no further
		}
		if info.MemoryMinPages > 1000 {
			return
		}
		var refused [2]bool
		for i := range refused {
			m, err := newMachine(t.Context(), api.CoreFeaturesV2, nil, i == 1)
			if err != nil {
				t.Fatal(err)
			}
			refused[i] = m.refuses(t.Context(), wasm)
			_ = m.runtime.Close(t.Context())
		}
		if refused[0] != refused[1] {
			t.Errorf("refused as it is: %v, rewritten: %v", refused[0], refused[1])
		}
	})
}
