package apptest

// The smallest modules of each kind, written by hand so that the tests need no compiler.

// wasmModule puts sections behind the preamble.
func wasmModule(sections ...[]byte) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range sections {
		out = append(out, s...)
	}
	return out
}

func section(id byte, content ...byte) []byte {
	return append([]byte{id, byte(len(content))}, content...)
}

func text(s string) []byte { return append([]byte{byte(len(s))}, s...) }

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

var (
	voidType  = section(1, 1, 0x60, 0, 0)
	oneFunc   = section(3, 1, 0)
	oneMemory = section(5, 1, 0, 1)
	emptyBody = section(10, 1, 2, 0, 0x0b)
)

// Reactor is an HTTP guest; release makes it another module.
func Reactor(release string) []byte {
	exports := join([]byte{2}, text("memory"), []byte{2, 0}, text("petrel_http_v1_handle"), []byte{0, 0})
	custom := join(text("release"), []byte(release))
	return wasmModule(voidType, oneFunc, oneMemory, section(7, exports...), emptyBody, section(0, custom...))
}

// Command runs to its end.
func Command() []byte {
	exports := join([]byte{2}, text("memory"), []byte{2, 0}, text("_start"), []byte{0, 0})
	return wasmModule(voidType, oneFunc, oneMemory, section(7, exports...), emptyBody)
}

// Importing needs a host function that nobody serves.
func Importing() []byte {
	imports := join([]byte{1}, text("env"), text("frobnicate"), []byte{0, 0})
	exports := join([]byte{2}, text("memory"), []byte{2, 0}, text("petrel_http_v1_handle"), []byte{0, 1})
	return wasmModule(voidType, section(2, imports...), oneFunc, oneMemory, section(7, exports...), emptyBody)
}
