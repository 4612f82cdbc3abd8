package ebpfproxy

import "math/bits"

const portBits = 16

// portPrefix is the ports whose first n bits are those of port.
type portPrefix struct {
	port uint16
	bits int
}

// portPrefixes covers first to last, exactly and with as few prefixes as there can be: 30 at most.
func portPrefixes(first, last uint16) []portPrefix {
	var out []portPrefix
	for lo, end := uint32(first), uint32(last)+1; lo < end; {
		// The largest block that begins at lo is as large as lo is aligned, and no larger than what is left.
		size := bits.TrailingZeros32(lo | 1<<portBits)
		if left := bits.Len32(end-lo) - 1; left < size {
			size = left
		}
		out = append(out, portPrefix{uint16(lo), portBits - size})
		lo += 1 << size
	}
	return out
}
