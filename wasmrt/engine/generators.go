package engine

import (
	"encoding/binary"
	mathrand "math/rand/v2"
)

// ReseedExport is an export that a guest may have: it is called before each request, and shall give the guest's own
// random generators new seeds. Go's are found without it.
const ReseedExport = "petrel_reseed"

// A generator of Go's runtime (package internal/chacha8rand) is in memory as 32 numbers ready to be used, the seed of
// 32 bytes that they were made of, the index of the next number, how many there are, and the block counter.
const (
	generatorNumbers = 32
	generatorSeed    = generatorNumbers * 8
	generatorSeedLen = 32
	generatorState   = generatorSeed + generatorSeedLen // index, count and counter, of four bytes each
	generatorSize    = generatorState + 12
	generatorBlocks  = 4 // the counter goes up by it
	generatorLast    = 12
	generatorHeld    = 4 // numbers of the last block, kept for the next seed
	generatorGiven   = 8 // numbers that a request gets ready; a guest that wants more makes them of the seed
)

// findGenerators finds Go's generators in a memory by their content: the numbers must be those that math/rand/v2's
// generator, which is the same, makes of the seed. So nothing else is ever taken for one, and a runtime that keeps them
// otherwise has none.
func findGenerators(mem []byte) []uint32 {
	var found []uint32
	le := binary.LittleEndian
	for at := 0; at+generatorSize <= len(mem); at += 8 {
		state := mem[at+generatorState : at+generatorSize]
		next, count, counter := le.Uint32(state), le.Uint32(state[4:]), le.Uint32(state[8:])
		if counter > generatorLast || counter%generatorBlocks != 0 || count > generatorNumbers || next > count || count == 0 {
			continue
		}
		want := uint32(generatorNumbers)
		if counter == generatorLast {
			want -= generatorHeld
		}
		if count == want && made(mem[at:at+generatorState], int(counter/generatorBlocks), int(count)) {
			found = append(found, uint32(at))
		}
	}
	return found
}

// made tells whether the numbers are the block that follows from the seed.
func made(g []byte, block, count int) bool {
	r := mathrand.NewChaCha8([generatorSeedLen]byte(g[generatorSeed:]))
	for range block * generatorNumbers {
		r.Uint64()
	}
	for i := range count {
		if r.Uint64() != binary.LittleEndian.Uint64(g[i*8:]) {
			return false
		}
	}
	return true
}

// reseed gives each generator a new seed, and new numbers: what is random here need not be made of the seed, and making
// it costs a guest as much as a tenth of a small request.
func (in *Instance) reseed() {
	if in.snapshot == nil {
		return
	}
	for _, at := range in.snapshot.generators {
		g := in.memory.base[at : at+generatorSize]
		for i := generatorSeed - 8*generatorGiven; i < generatorState; i += 8 {
			// The process's own generator is the same one, seeded by the kernel, and far cheaper to ask.
			binary.LittleEndian.PutUint64(g[i:], mathrand.Uint64())
		}
		state := g[generatorState:]
		binary.LittleEndian.PutUint32(state, generatorNumbers-generatorGiven)
		binary.LittleEndian.PutUint32(state[4:], generatorNumbers)
		binary.LittleEndian.PutUint32(state[8:], 0)
		in.memory.wrote(uint64(at), generatorSize)
	}
}
