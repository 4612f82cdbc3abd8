package moduletest

import "github.com/petrelrun/petrel/wasmrt/module"

// Bodies of functions, without the final end.
var (
	Loop        = []byte{0x03, 0x40, 0x0c, 0x00, 0x0b} // loop; br 0; end
	Unreachable = []byte{0x00}
	DivideZero  = []byte{0x41, 1, 0x41, 0, 0x6d, 0x1a} // 1 / 0; drop
	Nothing     = []byte{}
)

// Call encodes a call of a function by its index, imports first.
func Call(index uint32) []byte { return cat([]byte{0x10}, U32(index)) }

// Const encodes i32.const.
func Const(v int32) []byte { return cat([]byte{0x41}, I32(v)) }

// Grow encodes memory.grow by the pages and leaves out its result.
func Grow(pages int32) []byte { return cat(Const(pages), []byte{0x40, 0x00, 0x1a}) }

// GrowOrTrap grows the memory page by page and executes unreachable when it is refused.
func GrowOrTrap() []byte {
	return []byte{
		0x03, 0x40, // loop
		0x41, 0x01, 0x40, 0x00, // memory.grow 1
		0x41, 0x7f, 0x46, // == -1
		0x04, 0x40, 0x00, 0x0b, // if unreachable end
		0x0c, 0x00, 0x0b, // br 0; end
	}
}

// Served is the import of a function that the engine serves.
func Served(from, name string) module.Import {
	t, ok := module.ServedType(from, name)
	if !ok {
		panic("moduletest: " + from + "." + name + " is not served")
	}
	return module.Import{Module: from, Name: name, Type: t}
}

// Command is a command with one function body, a page of memory and WASI's proc_exit (0), fd_write (1), fd_read (2) and
// poll_oneoff (3) to call.
func Command(body []byte) Module {
	return CommandWith(body, "proc_exit", "fd_write", "fd_read", "poll_oneoff")
}

// CommandWith is a command that imports the named functions of WASI, to be called by their place in the list.
func CommandWith(body []byte, wasi ...string) Module {
	m := Module{
		Funcs:     []Func{{Name: module.StartExport, Body: body, Export: true}},
		HasMemory: true, Pages: 1,
	}
	for _, name := range wasi {
		m.Imports = append(m.Imports, Served(module.WASIModule, name))
	}
	return m
}

// I64 encodes i64.const.
func I64(v int32) []byte { return cat([]byte{0x42}, I32(v)) }

// Exit is a command that exits with a code.
func Exit(code int32) []byte { return Build(Command(cat(Const(code), Call(0)))) }

// Print is a command that writes a text to standard output.
func Print(text string) []byte {
	const iov, data = 0, 16
	m := Command(cat(Const(1), Const(iov), Const(1), Const(8), Call(1), []byte{0x1a}))
	mem := make([]byte, data)
	mem[0] = data
	mem[4], mem[5] = byte(len(text)), byte(len(text)>>8)
	m.Data = append(mem, text...)
	return Build(m)
}

// ReadStdin is a command that reads standard input once.
func ReadStdin() []byte {
	m := Command(cat(Const(0), Const(0), Const(1), Const(8), Call(2), []byte{0x1a}))
	m.Data = []byte{16, 0, 0, 0, 64, 0, 0, 0}
	return Build(m)
}

// Sleep is a command that sleeps for the milliseconds.
func Sleep(ms uint32) []byte {
	const in, out, events = 0, 64, 128
	m := Command(cat(Const(in), Const(out), Const(1), Const(events), Call(3), []byte{0x1a}))
	sub := make([]byte, 48)
	nanos := uint64(ms) * 1_000_000
	for i := range 8 {
		sub[24+i] = byte(nanos >> (8 * i))
	}
	m.Data = sub
	return Build(m)
}

// Reactor is an HTTP guest whose handler has the body; it may call response_head (0), response_write (1) and
// request_body_read (2) of the HTTP module.
func Reactor(body []byte) Module {
	return Module{
		Imports: []module.Import{
			Served(module.HTTPModule, "response_head"), Served(module.HTTPModule, "response_write"),
			Served(module.HTTPModule, "request_body_read"),
		},
		Funcs:     []Func{{Name: module.HandleExport, Body: body, Export: true}},
		HasMemory: true, Pages: 1, Data: []byte{0},
	}
}

// Respond is the body of a handler that answers with a status and an empty header block, which is the zero byte at 0.
func Respond(status int32) []byte {
	return cat(Const(status), Const(0), Const(1), Call(0), []byte{0x1a})
}

// Then joins bodies.
func Then(bodies ...[]byte) []byte { return cat(bodies...) }
