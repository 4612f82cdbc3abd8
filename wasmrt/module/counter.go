package module

import "math"

// The counter is one i64 global of a rewritten module. Its low half is the fuel left in the slice, signed; its high half
// is how many more calls may be nested. Spending more fuel than is left borrows one from the high half until the host
// refills, which the functions below take into account: nothing else may look into a counter.
const depthOne = 1 << 32

// counterAlarm are the bits of which one is set when fuel or depth is used up.
const counterAlarm = math.MinInt64 | 1<<31

// DefaultCallDepth is how deeply calls may be nested until the host says otherwise: it holds in start sections, which
// run before the host can set the counter.
const DefaultCallDepth = 20_000

// NewCounter encodes a counter. Either number is cut to 31 bits.
func NewCounter(fuel, depth uint32) uint64 {
	return uint64(min(depth, math.MaxInt32))<<32 + uint64(min(fuel, math.MaxInt32))
}

// CounterFuel is the fuel left. It is negative when the guest has spent more than it had: that much it owes.
func CounterFuel(counter uint64) int64 { return int64(int32(counter)) }

// CounterDepth is how many more calls may be nested. It is negative when there were too many.
func CounterDepth(counter uint64) int32 {
	return int32((int64(counter) - CounterFuel(counter)) >> 32)
}
