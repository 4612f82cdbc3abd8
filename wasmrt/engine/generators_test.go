package engine

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// generator is one as Go's runtime has it in memory, at a block of its stream.
func generator(seed [generatorSeedLen]byte, block, next int) []byte {
	r := rand.NewChaCha8(seed)
	for range block * generatorNumbers {
		r.Uint64()
	}
	g := make([]byte, generatorSize)
	count := generatorNumbers
	if block == 3 {
		count -= generatorHeld
	}
	for i := range count {
		binary.LittleEndian.PutUint64(g[i*8:], r.Uint64())
	}
	copy(g[generatorSeed:], seed[:])
	for i, n := range []int{next, count, block * generatorBlocks} {
		binary.LittleEndian.PutUint32(g[generatorState+4*i:], uint32(n))
	}
	return g
}

func TestFindGenerators(t *testing.T) {
	mem := make([]byte, 1<<20)
	for i := range mem {
		if i%7 == 0 {
			mem[i] = byte(rand.IntN(33))
		}
	}
	var want []uint32
	for block := range 4 {
		at := 4096 + block*70_000
		copy(mem[at:], generator([generatorSeedLen]byte{1, byte(block)}, block, block*9))
		want = append(want, uint32(at))
	}
	broken := generator([generatorSeedLen]byte{2}, 0, 0)
	broken[100]++
	copy(mem[500_000:], broken)
	if got := findGenerators(mem); !slices.Equal(got, want) {
		t.Errorf("found at %v, want %v", got, want)
	}
}

// A generator that is given a new seed has new numbers too, all of them still to be used.
func TestReseed(t *testing.T) {
	info := newLinearOf(t, generator([generatorSeedLen]byte{3}, 2, 5))
	in := &Instance{memory: info, snapshot: &snapshot{generators: []uint32{0}}}
	var seeds [][]byte
	old := slices.Clone(in.memory.base[:generatorSeed])
	for range 3 {
		in.reseed()
		g := in.memory.base[:generatorSize]
		for at := generatorSeed - 8*generatorGiven; at < generatorSeed; at += 8 {
			if bytes.Equal(g[at:at+8], old[at:at+8]) {
				t.Errorf("the number at %d is an old one", at/8)
			}
		}
		old = slices.Clone(g[:generatorSeed])
		seed := slices.Clone(g[generatorSeed:generatorState])
		if slices.ContainsFunc(seeds, func(s []byte) bool { return slices.Equal(s, seed) }) {
			t.Error("a seed came twice")
		}
		seeds = append(seeds, seed)
		le := binary.LittleEndian
		if le.Uint32(g[generatorState:]) != generatorNumbers-generatorGiven || le.Uint32(g[generatorState+4:]) != generatorNumbers || le.Uint32(g[generatorState+8:]) != 0 {
			t.Error("other numbers than the new ones are left to be used")
		}
	}
}

func FuzzFindGenerators(f *testing.F) {
	f.Add(generator([generatorSeedLen]byte{4}, 1, 3))
	f.Add(make([]byte, generatorSize))
	f.Fuzz(func(t *testing.T, mem []byte) {
		for _, at := range findGenerators(mem) {
			if int(at)+generatorSize > len(mem) {
				t.Errorf("a generator at %d of %d bytes", at, len(mem))
			}
		}
	})
}
