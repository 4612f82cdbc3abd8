package toolchain

import "encoding/binary"

// WithCustomSection answers the module with a custom section appended: the same program in other bytes, so another
// version of it.
func WithCustomSection(wasm []byte, name string, payload []byte) []byte {
	body := binary.AppendUvarint(nil, uint64(len(name)))
	body = append(body, name...)
	body = append(body, payload...)

	out := append([]byte(nil), wasm...)
	out = append(out, 0) // the id of a custom section
	out = binary.AppendUvarint(out, uint64(len(body)))
	return append(out, body...)
}

// WithImport answers a minimal module that imports one function without parameters or results.
func WithImport(module, field string) []byte {
	imports := []byte{1} // one import
	imports = binary.AppendUvarint(imports, uint64(len(module)))
	imports = append(imports, module...)
	imports = binary.AppendUvarint(imports, uint64(len(field)))
	imports = append(imports, field...)
	imports = append(imports, 0, 0) // a function of type 0

	out := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	out = append(out, 1, 4, 1, 0x60, 0, 0) // type section: one type, () -> ()
	out = append(out, 2)
	out = binary.AppendUvarint(out, uint64(len(imports)))
	return append(out, imports...)
}
