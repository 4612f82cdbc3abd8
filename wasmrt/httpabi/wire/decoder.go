package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errShort = errors.New("the head ends too early")

var errNumber = errors.New("a number has more than 64 bits")

func appendString(b []byte, s string) []byte {
	if len(s) < 0x80 {
		return append(append(b, byte(len(s))), s...)
	}
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads forward and remembers the first error; after it everything is zero. It works on a string so that what it
// finds are parts of that, and nothing is copied.
type decoder struct {
	s   string
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.s = ""
}

func (d *decoder) number() uint64 {
	if len(d.s) > 0 && d.s[0] < 0x80 {
		v := d.s[0]
		d.s = d.s[1:]
		return uint64(v)
	}
	var v uint64
	for i := range min(len(d.s), binary.MaxVarintLen64) {
		c := d.s[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return v
		}
	}
	if len(d.s) < binary.MaxVarintLen64 {
		d.fail(errShort)
	} else {
		d.fail(errNumber)
	}
	return 0
}

func (d *decoder) string() string {
	n := d.number()
	if n > uint64(len(d.s)) {
		d.fail(errShort)
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

func (d *decoder) count(what string) uint64 {
	n := d.number()
	if n > MaxFields {
		d.fail(fmt.Errorf("%d %s, the limit is %d", n, what, MaxFields))
		return 0
	}
	if n > uint64(len(d.s)) { // each takes at least a byte
		d.fail(errShort)
		return 0
	}
	return n
}

func (d *decoder) end() error {
	if d.err == nil && len(d.s) > 0 {
		d.err = fmt.Errorf("%d bytes follow the head", len(d.s))
	}
	if d.err != nil {
		return fmt.Errorf("decode head: %w", d.err)
	}
	return nil
}
