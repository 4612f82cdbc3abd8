package wasi

import (
	"context"
)

// Host is what the engine lends to each host call.
type Host interface {
	// Context is that of the call into the guest. It is asked for its end between the pieces of long work.
	Context() context.Context
	// Block runs wait, with the guest's processor given back meanwhile. wait returns when the context ends.
	Block(wait func(ctx context.Context))
	// Spend takes fuel for work in proportion to size. It may panic to end the guest, so no lock is held around it.
	Spend(units uint64)
	// Exit ends the guest and does not return.
	Exit(code uint32)
}

// Function is a host function. stack has its parameters, and then its result. mem is the guest's whole memory, which
// stays where it is for the length of the call.
type Function func(h Host, s *System, mem []byte, stack []uint64)

// What work costs, in the units of Host.Spend (about one simple instruction of a guest each).
const (
	costBytes = 8    // bytes copied a unit
	costCall  = 500  // a system call
	costPath  = 4000 // a system call that walks a path
	costEntry = 30   // one entry of a directory or of a list of buffers
)

// maxPiece bounds what is moved without asking whether the guest still lives.
const pieceSize = 256 << 10

// call is one host call under way. It is passed by value, so that it costs no allocation.
type call struct {
	h     Host
	s     *System
	mem   []byte
	stack []uint64
}

// u32 is the i-th parameter.
func (c call) u32(i int) uint32 { return uint32(c.stack[i]) }

// fd is the i-th parameter, a descriptor.
func (c call) fd(i int) uint32 { return uint32(c.stack[i]) }

// ended tells whether the guest shall end.
func (c call) ended() bool { return c.h.Context().Err() != nil }

// bytes is the guest's memory from ptr on.
func (c call) bytes(ptr, size uint32) ([]byte, Errno) {
	end := uint64(ptr) + uint64(size)
	if end > uint64(len(c.mem)) {
		return nil, ErrnoFault
	}
	return c.mem[ptr:end:end], 0
}

// buffer is the memory that the i-th parameter points to, of the size that the next one says.
func (c call) buffer(i int) ([]byte, Errno) { return c.bytes(c.u32(i), c.u32(i+1)) }

func (c call) put32(ptr, v uint32) Errno {
	b, errno := c.bytes(ptr, 4)
	if errno == 0 {
		le.PutUint32(b, v)
	}
	return errno
}

func (c call) put64(ptr uint32, v uint64) Errno {
	b, errno := c.bytes(ptr, 8)
	if errno == 0 {
		le.PutUint64(b, v)
	}
	return errno
}

// writable checks where a result will go before anything is done that could not be undone.
func (c call) writable(ptr, size uint32) Errno {
	_, errno := c.bytes(ptr, size)
	return errno
}

// path is the guest's text that the i-th parameter points to.
func (c call) path(i int) (string, Errno) {
	if c.u32(i+1) > maxPath {
		return "", ErrnoNameTooLong
	}
	b, errno := c.buffer(i)
	if errno != 0 {
		return "", errno
	}
	return checkPath(b)
}
