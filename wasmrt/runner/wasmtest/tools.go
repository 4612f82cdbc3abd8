package wasmtest

// Tools is an HTTP guest with exports that can be run by themselves: greet prints "hello", complain prints it to stderr, fail
// exits with 4, copy writes stdin to stdout, arguments prints them as Args does, break breaks off, and forever never ends.
func Tools() []byte {
	const text = "hello\n"
	imports := []imported{
		procExit, fdWrite,
		{wasi, "fd_read", signature{[]byte{i32, i32, i32, i32}, []byte{i32}}},
		{wasi, "args_sizes_get", signature{[]byte{i32, i32}, []byte{i32}}},
		{wasi, "args_get", signature{[]byte{i32, i32}, []byte{i32}}},
	}
	return definition{
		imports: imports,
		functions: []function{
			{"petrel_http_v1_handle", nil},
			{"greet", write(1, 1, i32Const(atText), i32Const(int32(len(text))))},
			{"complain", write(1, 2, i32Const(atText), i32Const(int32(len(text))))},
			{"fail", join(i32Const(4), callFunc(0))},
			{"copy", copyStdin},
			{"arguments", join(
				i32Const(atVector), i32Const(atVector+8), callFunc(3), drop,
				i32Store(atSleep, i32Load(atVector+8)),
				i32Const(atList), i32Const(atBuffer), callFunc(4), drop,
				write(1, 1, i32Const(atBuffer), i32Load(atSleep)),
			)},
			{"break", unreachable},
			{"forever", forever},
		},
		pages: 1,
		data:  []segment{{atText, []byte(text)}},
	}.encode()
}
