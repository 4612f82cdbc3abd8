package module

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

var (
	errShort   = errors.New("the bytes end too early")
	errLEBLong = errors.New("a number is longer than its type allows")
)

// cursor reads forward over bytes that it never copies. After an error it stays where it was.
type cursor struct {
	b   []byte
	pos int
}

func (c *cursor) left() int { return len(c.b) - c.pos }

func (c *cursor) u8() (byte, error) {
	if c.left() < 1 {
		return 0, errShort
	}
	c.pos++
	return c.b[c.pos-1], nil
}

// u32 reads an unsigned LEB128 of at most 32 bits, which is at most five bytes.
func (c *cursor) u32() (uint32, error) {
	var v uint32
	for i := 0; ; i++ {
		if c.pos+i >= len(c.b) {
			return 0, errShort
		}
		x := c.b[c.pos+i]
		if i == 4 && x > 0x0f {
			return 0, errLEBLong
		}
		v |= uint32(x&0x7f) << (7 * i)
		if x < 0x80 {
			c.pos += i + 1
			return v, nil
		}
	}
}

// skipLEB passes a LEB128 of at most the given number of bits, signed or not, whose value does not matter.
func (c *cursor) skipLEB(bits int) error {
	longest := (bits + 6) / 7
	for i := range longest {
		if c.pos+i >= len(c.b) {
			return errShort
		}
		if c.b[c.pos+i] < 0x80 {
			c.pos += i + 1
			return nil
		}
	}
	return errLEBLong
}

// bytes returns the next n bytes, a view of the input.
func (c *cursor) bytes(n uint32) ([]byte, error) {
	if uint64(n) > uint64(c.left()) {
		return nil, errShort
	}
	v := c.b[c.pos : c.pos+int(n) : c.pos+int(n)]
	c.pos += int(n)
	return v, nil
}

// name reads a length-prefixed UTF-8 string.
func (c *cursor) name(limit uint32) (string, error) {
	b, err := c.nameBytes(limit)
	if err != nil {
		return "", err
	}
	return string(b), nil
}

func (c *cursor) nameBytes(limit uint32) ([]byte, error) {
	n, err := c.u32()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("a name has %d bytes, the limit is %d", n, limit)
	}
	b, err := c.bytes(n)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(b) {
		return nil, errors.New("a name is not UTF-8")
	}
	return b, nil
}

// constExpr passes an initialiser up to and with its end.
func (c *cursor) constExpr() error {
	for {
		op, err := c.u8()
		if err != nil {
			return err
		}
		switch op {
		case 0x0b: // end
			return nil
		case 0x41: // i32.const
			err = c.skipLEB(32)
		case 0x42: // i64.const
			err = c.skipLEB(64)
		case 0x43: // f32.const
			_, err = c.bytes(4)
		case 0x44: // f64.const
			_, err = c.bytes(8)
		case 0x23, 0xd2: // global.get, ref.func
			_, err = c.u32()
		case 0xd0: // ref.null
			_, err = c.u8()
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // add, sub, mul of the extended constant expressions
		case 0xfd: // v128.const is the only vector instruction allowed
			var sub uint32
			if sub, err = c.u32(); err == nil && sub != 0x0c {
				return fmt.Errorf("instruction 0xfd %#x in an initialiser", sub)
			}
			if err == nil {
				_, err = c.bytes(16)
			}
		default:
			return fmt.Errorf("instruction %#x in an initialiser", op)
		}
		if err != nil {
			return err
		}
	}
}

// s32 reads a signed LEB128 of at most 32 bits.
func (c *cursor) s32() (int32, error) {
	start := c.pos
	if err := c.skipLEB(32); err != nil {
		return 0, err
	}
	var v int64
	shift := 0
	for _, x := range c.b[start:c.pos] {
		v |= int64(x&0x7f) << shift
		shift += 7
		if x < 0x80 && x&0x40 != 0 {
			v |= -1 << shift
		}
	}
	if v != int64(int32(v)) {
		c.pos = start
		return 0, errLEBLong
	}
	return int32(v), nil
}
