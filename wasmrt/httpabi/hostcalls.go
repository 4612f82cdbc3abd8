package httpabi

import (
	"context"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
	"github.com/tetratelabs/wazero/api"
)

// hostCall is a function of the ABI: it gets the memory that its pointer and length name, and returns a count or one of
// wire's errors.
type hostCall func(ctx context.Context, x *exchange, status int32, buf []byte) int32

// hostModule is the import module petrel_http_v1. Outside a request (in an init function, say) there is no exchange, and
// every call returns ErrState.
func hostModule() engine.HostModule {
	return engine.HostModule{Name: wire.Module, Functions: map[string]api.GoModuleFunc{
		"request_head": onBuffer(func(_ context.Context, x *exchange, _ int32, buf []byte) int32 {
			return fill(buf, *x.head)
		}),
		"request_body_read": onBuffer(func(ctx context.Context, x *exchange, _ int32, buf []byte) int32 {
			return x.read(ctx, buf)
		}),
		"request_trailers": onBuffer(func(_ context.Context, x *exchange, _ int32, buf []byte) int32 {
			return fill(buf, wire.AppendHeader(nil, x.r.Trailer))
		}),
		"request_cancelled": plain(func(_ context.Context, x *exchange) int32 {
			if x.request.Err() != nil || x.Err() != nil {
				return 1
			}
			return 0
		}),
		"response_head": onStatus(func(ctx context.Context, x *exchange, status int32, buf []byte) int32 {
			return x.respond(ctx, status, buf)
		}),
		"response_send": responseSend,
		"response_write": onBuffer(func(ctx context.Context, x *exchange, _ int32, buf []byte) int32 {
			return x.write(ctx, buf)
		}),
		"response_flush": plain(func(ctx context.Context, x *exchange) int32 { return x.flush(ctx) }),
		"response_trailers": onBuffer(func(_ context.Context, x *exchange, _ int32, buf []byte) int32 {
			return x.trailers(buf)
		}),
		"response_abort": responseAbort,
	}}
}

// exchangeOf finds the exchange that a host function is called for; nil when there is none.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := engine.CallContext(ctx).(*exchange); ok {
		return x
	}
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// fill copies what fits whole, and returns the length needed either way, so that a guest can ask again with more room.
func fill(buf, data []byte) int32 {
	if len(data) <= len(buf) {
		copy(buf, data)
	}
	return int32(len(data))
}

func plain(call func(ctx context.Context, x *exchange) int32) api.GoModuleFunc {
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		stack[0] = api.EncodeI32(wire.ErrState)
		if x := exchangeOf(ctx); x != nil {
			stack[0] = api.EncodeI32(call(ctx, x))
		}
	}
}

// onBuffer is for functions of (pointer, length).
func onBuffer(call hostCall) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		stack[0] = api.EncodeI32(onMemory(ctx, m, call, 0, api.DecodeU32(stack[0]), api.DecodeU32(stack[1])))
	}
}

// onStatus is for functions of (status, pointer, length).
func onStatus(call hostCall) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		status := api.DecodeI32(stack[0])
		stack[0] = api.EncodeI32(onMemory(ctx, m, call, status, api.DecodeU32(stack[1]), api.DecodeU32(stack[2])))
	}
}

// onMemory runs a call on a view of the guest's memory. The view is good while the call runs, because nothing else of
// this instance runs then.
func onMemory(ctx context.Context, m api.Module, call hostCall, status int32, ptr, size uint32) int32 {
	x := exchangeOf(ctx)
	if x == nil {
		return wire.ErrState
	}
	buf, ok := view(m, ptr, size)
	if !ok {
		return wire.ErrInvalid
	}
	return call(ctx, x, status, buf)
}

// view is the guest's memory at a place that it named. Nothing of a module without memory is readable.
func view(m api.Module, ptr, size uint32) ([]byte, bool) {
	memory := m.Memory()
	if memory == nil {
		return nil, false
	}
	return memory.Read(ptr, size)
}

// responseSend is response_head and response_write in one call, of (status, head, its length, body, its length).
func responseSend(ctx context.Context, m api.Module, stack []uint64) {
	x := exchangeOf(ctx)
	if x == nil {
		stack[0] = api.EncodeI32(wire.ErrState)
		return
	}
	head, ok := view(m, api.DecodeU32(stack[1]), api.DecodeU32(stack[2]))
	body, ok2 := view(m, api.DecodeU32(stack[3]), api.DecodeU32(stack[4]))
	status := api.DecodeI32(stack[0])
	if !ok || !ok2 || status < 200 { // what is informational has no body
		stack[0] = api.EncodeI32(wire.ErrInvalid)
		return
	}
	code := x.respond(ctx, status, head)
	if code == 0 && len(body) > 0 {
		code = x.write(ctx, body)
	}
	stack[0] = api.EncodeI32(code)
}

func responseAbort(ctx context.Context, _ api.Module, stack []uint64) {
	x := exchangeOf(ctx)
	if x == nil {
		return
	}
	x.abort = abortPanic
	if api.DecodeI32(stack[0]) == wire.AbortSilent {
		x.abort = abortSilent
	}
}
