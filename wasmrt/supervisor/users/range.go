package users

import (
	"fmt"
	"strconv"
	"strings"
)

// None is how a range is written that gives no ids: runners have the supervisor's.
const None = "none"

// Range is a run of user ids, of which none may belong to anybody else on the host.
type Range struct {
	First, Count uint32
}

const (
	// lowest is the first id that may be given: below it are root, the system's and the people's.
	lowest = 65_536
	// highest is the last: the one above means "unchanged" to the kernel, and 2³¹ on trips programs that count in int32.
	highest = 1<<31 - 1
)

// ParseRange reads "FIRST+COUNT" or "none", which is the zero Range.
func ParseRange(s string) (Range, error) {
	if s == None {
		return Range{}, nil
	}
	first, count, ok := strings.Cut(s, "+")
	f, err1 := strconv.ParseUint(first, 10, 32)
	n, err2 := strconv.ParseUint(count, 10, 32)
	if !ok || err1 != nil || err2 != nil || n == 0 {
		return Range{}, fmt.Errorf("user ids %q: want FIRST+COUNT, such as 1879048192+65536, or none", s)
	}
	if f < lowest || f+n-1 > highest {
		return Range{}, fmt.Errorf("user ids %q: they must be from %d to %d", s, lowest, highest)
	}
	return Range{First: uint32(f), Count: uint32(n)}, nil
}

func (r Range) String() string {
	if r.Count == 0 {
		return None
	}
	return fmt.Sprintf("%d+%d", r.First, r.Count)
}

// Contains says whether the id is one of the range.
func (r Range) Contains(id uint32) bool { return id >= r.First && id-r.First < r.Count }
