package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// leastMemory is what a runner needs for itself, before any guest.
const leastMemory = 64 << 20

// parseMemory reads an amount of memory: bytes, with Ki, Mi or Gi behind them, or a share of total such as 75%. Zero is
// no bound.
func parseMemory(s string, total uint64) (uint64, error) {
	bad := fmt.Errorf("runner-memory %q: want bytes such as 8Gi, a share of the host's such as 75%%, or 0", s)
	if share, ok := strings.CutSuffix(s, "%"); ok {
		n, err := strconv.ParseUint(share, 10, 8)
		if err != nil || n < 1 || n > 100 {
			return 0, bad
		}
		return total / 100 * n, nil
	}
	number, shift := s, 0
	for suffix, bits := range map[string]int{"Ki": 10, "Mi": 20, "Gi": 30} {
		if cut, ok := strings.CutSuffix(s, suffix); ok {
			number, shift = cut, bits
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, bad
	}
	n <<= shift
	if n > 0 && n < leastMemory {
		return 0, fmt.Errorf("runner-memory %q: a runner needs %d Mi for itself", s, leastMemory>>20)
	}
	return n, nil
}
