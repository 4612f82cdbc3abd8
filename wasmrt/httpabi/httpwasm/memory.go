package httpwasm

import (
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// view is the guest's memory at ptr. It is good while the host function runs, because nothing else of the instance runs
// then.
func (x *exchange) view(m api.Module, ptr, size uint32) []byte {
	if size == 0 {
		return nil
	}
	b, ok := m.Memory().Read(ptr, size)
	if !ok {
		x.misuse(fmt.Sprintf("%d bytes at %d lie outside the memory", size, ptr))
	}
	return b
}

func (x *exchange) text(m api.Module, ptr, size uint32) string { return string(x.view(m, ptr, size)) }

// put writes a text when it fits, and returns its length either way, so that the guest can ask again with more room.
func (x *exchange) put(m api.Module, ptr, limit uint32, text string) uint32 {
	if n := uint32(len(text)); n > 0 && n <= limit {
		copy(x.view(m, ptr, n), text)
	}
	return uint32(len(text))
}

// putAll writes texts, each ended by a zero byte, when all of them fit, and returns their count and length either way.
func (x *exchange) putAll(m api.Module, ptr, limit uint32, texts []string) uint64 {
	size := uint32(0)
	for _, t := range texts {
		size += uint32(len(t)) + 1
	}
	if size > 0 && size <= limit {
		b := x.view(m, ptr, size)
		for _, t := range texts {
			b = b[copy(b, t):]
			b[0] = 0
			b = b[1:]
		}
	}
	return uint64(len(texts))<<32 | uint64(size)
}
