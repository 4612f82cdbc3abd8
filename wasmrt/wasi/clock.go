package wasi

import (
	"time"
)

// clockTick is the resolution of the guest's clocks: fine enough for programs, and coarser than what measuring the
// host's caches takes.
const clockTick = time.Microsecond

const (
	clockRealtime  = 0
	clockMonotonic = 1
)

// epoch is where the monotonic clock begins, for the whole process: a clone made of a snapshot must not see time go back.
var epoch = time.Now()

// monotonic begins at one tick: zero means "never" to many programs.
func monotonic() time.Duration { return (time.Since(epoch) + clockTick).Truncate(clockTick) }

func realtime() time.Duration { return time.Duration(time.Now().UnixNano()).Truncate(clockTick) }

func clockResGet(c call) Errno {
	if c.u32(0) > clockMonotonic {
		return ErrnoInval
	}
	return c.put64(c.u32(1), uint64(clockTick))
}

func clockTimeGet(c call) Errno {
	switch c.u32(0) {
	case clockRealtime:
		return c.put64(c.u32(2), uint64(realtime()))
	case clockMonotonic:
		return c.put64(c.u32(2), uint64(monotonic()))
	}
	return ErrnoInval // the clocks of processor time: the processor is shared
}
