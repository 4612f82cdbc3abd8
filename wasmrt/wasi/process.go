package wasi

import (
	"crypto/rand"
	"runtime"
)

// randomGet is the kernel's randomness, in pieces: a guest may ask for gigabytes at once.
func randomGet(c call) Errno {
	buf, errno := c.buffer(0)
	if errno != 0 {
		return errno
	}
	for len(buf) > 0 {
		if c.ended() {
			return ErrnoIntr
		}
		piece := buf[:min(len(buf), pieceSize)]
		c.h.Spend(uint64(len(piece)))
		if _, err := rand.Read(piece); err != nil {
			return ErrnoIO
		}
		buf = buf[len(piece):]
	}
	return 0
}

func schedYield(c call) Errno {
	c.h.Spend(costCall)
	runtime.Gosched()
	return 0
}

func procExit(h Host, _ *System, _ []byte, stack []uint64) { h.Exit(uint32(stack[0])) }

// Signals by WASI's numbers, and what they do to a process that does not catch them, as no guest can.
const (
	signalNone   = 0
	signalLast   = 30 // SIGSYS
	signalOffset = 128
)

var ignoredSignals = map[uint32]bool{16: true /* CHLD */, 17: true /* CONT */, 22: true /* URG */, 27: true /* WINCH */}

// procRaise ends the guest as the signal would end a process. What would stop it is not served: nobody could continue it.
func procRaise(c call) Errno {
	signal := c.u32(0)
	switch {
	case signal > signalLast:
		return ErrnoInval
	case signal == signalNone || ignoredSignals[signal]:
		return 0
	case signal >= 18 && signal <= 21: // STOP, TSTP, TTIN, TTOU
		return ErrnoNotSup
	}
	c.h.Exit(signalOffset + signal)
	return ErrnoIntr // not reached
}
