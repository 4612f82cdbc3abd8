package module

// emptyBody is a function without locals that is never run.
var emptyBody = []byte{3, 0, opUnreachable, opEnd}

// Outline returns the module with an empty body in place of each function's. Whoever has the machine code needs no more
// to instantiate it, and decoding and validating it takes a fraction of the time.
func Outline(wasm []byte) ([]byte, error) {
	if err := checkHeader(wasm); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(wasm)/4), wasm[:8]...)
	c := &cursor{b: wasm, pos: 8}
	for c.left() > 0 {
		id, err := c.u8()
		if err != nil {
			return nil, asError("sections", err)
		}
		size, err := c.u32()
		if err != nil {
			return nil, asError("sections", err)
		}
		body, err := c.bytes(size)
		if err != nil {
			return nil, asError("sections", err)
		}
		if id == sectionCode {
			body = emptyCode(body)
		}
		out = appendSection(out, id, body)
	}
	return out, nil
}

func emptyCode(code []byte) []byte {
	n, rest := counted(code)
	n = min(n, uint32(len(rest))) // a body takes more than a byte
	out := appendU32(make([]byte, 0, 5+int(n)*len(emptyBody)), n)
	for range n {
		out = append(out, emptyBody...)
	}
	return out
}
