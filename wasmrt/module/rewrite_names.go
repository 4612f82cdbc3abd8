package module

// The subsections of the name section that are kept. The names of locals, labels and the rest serve nobody here, and
// take memory in every runner.
const (
	namesModule    = 0
	namesFunctions = 1
)

// newNames writes the name section anew, function indices shifted. A damaged one keeps what can be read: names do not
// make a module invalid.
func (w *rewriter) newNames() []byte {
	c := cursor{b: w.kept.names}
	var out []byte
	for c.left() > 0 {
		id, _ := c.u8()
		size, err := c.u32()
		if err != nil {
			break
		}
		body, err := c.bytes(size)
		if err != nil {
			break
		}
		switch id {
		case namesModule:
			if name, err := (&cursor{b: body}).name(unlimited.MaxNameLength); err == nil {
				out = appendSection(out, namesModule, appendName(nil, name))
			}
		case namesFunctions:
			out = appendSection(out, namesFunctions, w.functionNamesShifted(body))
		}
	}
	if out == nil {
		return nil
	}
	return append(appendName(nil, "name"), out...)
}

func (w *rewriter) functionNamesShifted(body []byte) []byte {
	c := cursor{b: body}
	n, err := c.u32()
	if err != nil {
		return []byte{0}
	}
	out := make([]byte, 0, len(body)+len(body)/16)
	var kept uint32
	last := int64(-1)
	for range n {
		function, err := c.u32()
		if err != nil || int64(function) <= last || function >= uint32(len(w.functions)) {
			break
		}
		name, err := c.nameBytes(unlimited.MaxNameLength)
		if err != nil {
			break
		}
		out = appendU32(out, w.shift(function))
		out = append(appendU32(out, uint32(len(name))), name...)
		kept++
		last = int64(function)
	}
	if w.piecewise {
		out = appendName(appendU32(out, w.bulkFunction(miscMemoryFill)), fillName)
		out = appendName(appendU32(out, w.bulkFunction(miscMemoryCopy)), copyName)
		kept += 2
	}
	return append(appendU32(nil, kept), out...)
}
