package httpwasm

import (
	"context"
	"fmt"
	"math"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/tetratelabs/wazero/api"
)

// The kinds of bodies.
const (
	requestBody  = 0
	responseBody = 1
)

// maxRead bounds one read of a body.
const maxRead = 1 << 20

// hostCall is a function of the ABI.
type hostCall func(ctx context.Context, x *exchange, m api.Module, stack []uint64)

// hostModule is the import module http_handler.
func hostModule() engine.HostModule {
	calls := map[string]api.GoModuleFunc{}
	for name, call := range anytime {
		calls[name] = always(call)
	}
	for name, call := range inRequest {
		calls[name] = duringRequest(name, call)
	}
	return engine.HostModule{Name: module.HTTPWasmModule, Functions: calls}
}

// always is for calls that an initialisation makes too. Where an instance is made for a snapshot that several servers
// share, there may be no exchange; then nobody is asked, and zero is the answer.
func always(call hostCall) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
			call(ctx, x, m, stack)
		} else if len(stack) > 0 {
			stack[0] = 0
		}
	}
}

func duringRequest(name string, call hostCall) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		x, ok := ctx.Value(exchangeKey{}).(*exchange)
		if !ok {
			panic(fmt.Errorf("http_handler: %s was called without a request", name))
		}
		if x.phase == initialising {
			x.misuse(name + " was called without a request")
		}
		call(ctx, x, m, stack)
	}
}

func u32(v uint64) uint32 { return api.DecodeU32(v) }

var anytime = map[string]hostCall{
	"enable_features": func(_ context.Context, x *exchange, _ api.Module, stack []uint64) {
		stack[0] = uint64(x.enable(features(u32(stack[0]))))
	},
	"get_config": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		stack[0] = uint64(x.put(m, u32(stack[0]), u32(stack[1]), x.server.config))
	},
	"log_enabled": func(_ context.Context, _ *exchange, _ api.Module, stack []uint64) {
		enabled := logged(api.DecodeI32(stack[0]))
		stack[0] = 0
		if enabled {
			stack[0] = 1
		}
	},
	"log": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		x.log(api.DecodeI32(stack[0]), x.text(m, u32(stack[1]), u32(stack[2])))
	},
}

var inRequest = map[string]hostCall{
	"get_method": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		stack[0] = uint64(x.put(m, u32(stack[0]), u32(stack[1]), x.r.Method))
	},
	"set_method": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		x.beforeNext("method")
		method := x.text(m, u32(stack[0]), u32(stack[1]))
		if method == "" {
			x.misuse("the method is empty")
		}
		x.r.Method = method
	},
	"get_uri": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		stack[0] = uint64(x.put(m, u32(stack[0]), u32(stack[1]), x.uri()))
	},
	"set_uri": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		x.beforeNext("URI")
		x.setURI(x.text(m, u32(stack[0]), u32(stack[1])))
	},
	"get_protocol_version": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		stack[0] = uint64(x.put(m, u32(stack[0]), u32(stack[1]), x.r.Proto))
	},
	"get_source_addr": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		stack[0] = uint64(x.put(m, u32(stack[0]), u32(stack[1]), x.r.RemoteAddr))
	},
	"get_header_names": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		stack[0] = x.putAll(m, u32(stack[1]), u32(stack[2]), x.names(kind(u32(stack[0]))))
	},
	"get_header_values": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		values := x.values(kind(u32(stack[0])), x.text(m, u32(stack[1]), u32(stack[2])))
		stack[0] = x.putAll(m, u32(stack[3]), u32(stack[4]), values)
	},
	"set_header_value": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		x.set(kind(u32(stack[0])), x.text(m, u32(stack[1]), u32(stack[2])), x.text(m, u32(stack[3]), u32(stack[4])), false)
	},
	"add_header_value": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		x.set(kind(u32(stack[0])), x.text(m, u32(stack[1]), u32(stack[2])), x.text(m, u32(stack[3]), u32(stack[4])), true)
	},
	"remove_header": func(_ context.Context, x *exchange, m api.Module, stack []uint64) {
		x.remove(kind(u32(stack[0])), x.text(m, u32(stack[1]), u32(stack[2])))
	},
	"read_body":  readBody,
	"write_body": writeBody,
	"get_status_code": func(_ context.Context, x *exchange, _ api.Module, stack []uint64) {
		stack[0] = uint64(x.code())
	},
	"set_status_code": func(_ context.Context, x *exchange, _ api.Module, stack []uint64) {
		x.setStatus(u32(stack[0]))
	},
}

// readBody returns the count of bytes, with one above them when the body ends there.
func readBody(ctx context.Context, x *exchange, m api.Module, stack []uint64) {
	which, size := u32(stack[0]), u32(stack[2])
	if size == 0 {
		x.misuse("read_body was given no room, in which no end can be told")
	}
	buf := x.view(m, u32(stack[1]), min(size, maxRead))
	var n int
	var end bool
	switch which {
	case requestBody:
		n, end = x.readRequest(ctx, buf)
	case responseBody:
		n, end = x.readResponse(buf)
	default:
		x.misuse(fmt.Sprintf("there is no body kind %d", which))
	}
	stack[0] = uint64(n)
	if end {
		stack[0] |= 1 << 32
	}
}

func writeBody(ctx context.Context, x *exchange, m api.Module, stack []uint64) {
	which, p := u32(stack[0]), x.view(m, u32(stack[1]), u32(stack[2]))
	switch which {
	case requestBody:
		x.writeRequest(p)
	case responseBody:
		x.writeResponse(ctx, p)
	default:
		x.misuse(fmt.Sprintf("there is no body kind %d", which))
	}
}

// logged leaves out what is for debugging the guest.
func logged(level int32) bool { return level >= levelInfo && level < levelNone }

const (
	levelInfo int32 = 0
	levelNone int32 = 3
)

var levelNames = [...]string{"info", "warn", "error"}

func (x *exchange) log(level int32, message string) {
	if !logged(level) || x.stderr == nil || len(message) > math.MaxInt32 {
		return
	}
	fmt.Fprintf(x.stderr, "%s: %s\n", levelNames[level], message)
}

// readResponse shows the guest the body that is kept.
func (x *exchange) readResponse(p []byte) (n int, end bool) {
	x.beforeNextOrKept("response body")
	if x.kept == nil {
		return 0, true
	}
	n = copy(p, x.kept.Bytes()[x.shown:])
	x.shown += n
	return n, x.shown == x.kept.Len()
}

// writeResponse streams, or replaces what is kept; further calls append.
func (x *exchange) writeResponse(ctx context.Context, p []byte) {
	x.beforeNextOrKept("response body")
	if x.features&bufferResponse != 0 {
		x.keep(x.server.cfg.MaxBuffer)
	}
	if !x.wrote {
		x.wrote = true
		x.rewrite()
	}
	if len(p) == 0 {
		x.any = true
		return
	}
	var err error
	if x.kept != nil {
		_, err = x.Write(p)
	} else {
		engine.Block(ctx, func() { _, err = x.Write(p) })
	}
	if err != nil && ctx.Err() == nil {
		x.fail(fmt.Errorf("write response body: %w", err))
	}
}

func (x *exchange) setStatus(status uint32) {
	x.beforeNextOrKept("status")
	if status < 200 || status > 999 {
		x.misuse(fmt.Sprintf("there is no final status %d", status))
	}
	x.status = int(status)
}
