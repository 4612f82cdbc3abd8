package wire

import (
	"encoding/binary"
	"net/http"
)

// AppendHeader encodes a header block. The fields come in no order.
func AppendHeader(b []byte, h http.Header) []byte {
	b = binary.AppendUvarint(b, uint64(len(h)))
	for name, values := range h {
		b = AppendField(b, name, values)
	}
	return b
}

// AppendField encodes one field of a header block, which begins with their number.
func AppendField(b []byte, name string, values []string) []byte {
	b = appendString(b, name)
	b = binary.AppendUvarint(b, uint64(len(values)))
	for _, value := range values {
		b = appendString(b, value)
	}
	return b
}

// DecodeHeader decodes a header block, which must use up the string. Names are kept as they are. The strings are cut
// from the block.
func DecodeHeader(block string) (http.Header, error) {
	d := decoder{s: block}
	h, _ := d.header(nil, nil)
	return h, d.end()
}

// EachField decodes a header block, which must use up the string, and hands over its fields as they come: one name may
// come twice. The values may be kept. It stops at the first error, of the block or of f.
func EachField(block string, f func(name string, values []string) error) error {
	d := decoder{s: block}
	fields := d.count("fields")
	backing := make([]string, 0, min(fields, maxReserve))
	for range fields {
		name := d.string()
		var values []string
		values, backing = d.values(backing)
		if d.err != nil {
			break
		}
		if err := f(name, values); err != nil {
			return err
		}
	}
	return d.end()
}

// maxReserve bounds the room that is made because a count says so, before anything of it was seen.
const maxReserve = 64

// header decodes a block into h and cuts the values from backing; it makes what is nil.
func (d *decoder) header(h http.Header, backing []string) (http.Header, []string) {
	fields := d.count("fields")
	if h == nil {
		h = make(http.Header, min(fields, maxReserve))
	}
	if backing == nil {
		backing = make([]string, 0, min(fields, maxReserve))
	}
	for range fields {
		name := d.string()
		var values []string
		values, backing = d.values(backing)
		if d.err != nil {
			return nil, nil
		}
		if had, twice := h[name]; twice {
			values = append(had[:len(had):len(had)], values...)
		}
		h[name] = values
	}
	return h, backing
}

// values decodes the values of a field. Most fields have one: those share an array.
func (d *decoder) values(backing []string) (values, rest []string) {
	n := d.count("values")
	switch {
	case n == 0:
		return nil, backing
	case n == 1 && len(backing) < cap(backing):
		backing = append(backing, d.string())
		return backing[len(backing)-1 : len(backing) : len(backing)], backing
	}
	values = make([]string, 0, min(n, maxReserve))
	for range n {
		values = append(values, d.string())
	}
	return values, backing
}
