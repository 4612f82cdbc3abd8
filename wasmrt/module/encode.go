package module

import "encoding/binary"

func appendU32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

// appendS64 appends a signed LEB128, as i32.const and i64.const take it.
func appendS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendName(b []byte, name string) []byte {
	return append(appendU32(b, uint32(len(name))), name...)
}

func appendSection(b []byte, id byte, body []byte) []byte {
	b = append(b, id)
	b = appendU32(b, uint32(len(body)))
	return append(b, body...)
}

func appendFuncType(b []byte, t FuncType) []byte {
	b = append(b, 0x60)
	for _, ts := range [2][]ValueType{t.Params, t.Results} {
		b = appendU32(b, uint32(len(ts)))
		for _, v := range ts {
			b = append(b, byte(v))
		}
	}
	return b
}
