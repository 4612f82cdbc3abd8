package toolchain

import "encoding/binary"

// WithCustomSection answers the module with a custom section appended: the same program in other bytes, so another
// version of it.
func WithCustomSection(wasm []byte, name string, payload []byte) []byte {
	const custom = 0
	return appendSection(append([]byte(nil), wasm...), custom, append(appendName(nil, name), payload...))
}

// WithImport answers a minimal module that imports one function without parameters or results.
func WithImport(module, field string) []byte { return WithImports(module, field, 1) }

// WithImports is WithImport with so many imports, all the same.
func WithImports(module, field string, n int) []byte {
	imports := binary.AppendUvarint(nil, uint64(n))
	for range n {
		imports = appendName(imports, module)
		imports = appendName(imports, field)
		imports = append(imports, 0, 0) // a function of type 0
	}
	return appendSection(appendSection(header(), sectionType, emptyType), sectionImport, imports)
}

// WithTable answers a module with a table of so many elements.
func WithTable(elements uint32) []byte {
	table := binary.AppendUvarint([]byte{1, 0x70, 0}, uint64(elements)) // one table of function references, no maximum
	return appendSection(header(), sectionTable, table)
}

// WithMemory answers a module with a memory of so many pages of 64 KiB.
func WithMemory(pages uint32) []byte {
	return appendSection(header(), sectionMemory, binary.AppendUvarint([]byte{1, 0}, uint64(pages)))
}

// WithSectionSize answers a module whose one section says that it is of another size than it is.
func WithSectionSize(size uint32) []byte {
	return append(binary.AppendUvarint(append(header(), sectionType), uint64(size)), emptyType...)
}

const (
	sectionType   = 1
	sectionImport = 2
	sectionTable  = 4
	sectionMemory = 5
)

// emptyType is a type section's content: one type, () -> ().
var emptyType = []byte{1, 0x60, 0, 0}

func header() []byte { return []byte{0, 'a', 's', 'm', 1, 0, 0, 0} }

func appendName(b []byte, name string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(name))), name...)
}

func appendSection(b []byte, id byte, content []byte) []byte {
	return append(binary.AppendUvarint(append(b, id), uint64(len(content))), content...)
}
