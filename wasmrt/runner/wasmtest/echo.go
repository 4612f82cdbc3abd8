package wasmtest

// Echo is a command that writes its stdin to stdout and ends with it.
func Echo() []byte {
	return definition{
		imports:   []imported{procExit, fdWrite, {wasi, "fd_read", signature{[]byte{i32, i32, i32, i32}, []byte{i32}}}},
		functions: []function{{"_start", copyStdin}},
		pages:     1,
	}.encode()
}

// copyStdin writes stdin to stdout; fd_write has to be import 1, and fd_read import 2.
var copyStdin = join(
	[]byte{0x02, 0x40, 0x03, 0x40}, // block, loop
	i32Store(atVector, i32Const(atBuffer)), i32Store(atVector+4, i32Const(atBuffer)),
	i32Const(0), i32Const(atVector), i32Const(1), i32Const(atResult), callFunc(2), drop,
	i32Load(atResult), []byte{0x45, 0x0d, 0x01}, // nothing came: out of the block
	write(1, 1, i32Const(atBuffer), i32Load(atResult)),
	[]byte{0x0c, 0x00, 0x0b, 0x0b}, // again
)
