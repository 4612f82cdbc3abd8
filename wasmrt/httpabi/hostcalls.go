package httpabi

import (
	"context"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
	"github.com/tetratelabs/wazero/api"
)

type exchangeKey struct{}

func withExchange(ctx context.Context, x *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

// hostCall is a function of the ABI: it gets the memory that its pointer and length name, and returns a count or one of
// wire's errors.
type hostCall func(ctx context.Context, x *exchange, status int32, buf []byte) int32

// hostModule is the import module petrel_http_v1. Outside a request (in an init function, say) there is no exchange, and
// every call returns ErrState.
func hostModule() engine.HostModule {
	return engine.HostModule{Name: wire.Module, Functions: map[string]api.GoModuleFunc{
		"request_head": onBuffer(func(_ context.Context, x *exchange, _ int32, buf []byte) int32 {
			return fill(buf, x.head)
		}),
		"request_body_read": onBuffer(func(ctx context.Context, x *exchange, _ int32, buf []byte) int32 {
			return x.read(ctx, buf)
		}),
		"request_trailers": onBuffer(func(_ context.Context, x *exchange, _ int32, buf []byte) int32 {
			return fill(buf, wire.AppendHeader(nil, x.r.Trailer))
		}),
		"request_cancelled": plain(func(ctx context.Context, x *exchange) int32 {
			if ctx.Err() != nil || x.r.Context().Err() != nil {
				return 1
			}
			return 0
		}),
		"response_head": onStatus(func(_ context.Context, x *exchange, status int32, buf []byte) int32 {
			return x.respond(status, buf)
		}),
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
		if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
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
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return wire.ErrState
	}
	buf, ok := m.Memory().Read(ptr, size)
	if !ok {
		return wire.ErrInvalid
	}
	return call(ctx, x, status, buf)
}

func responseAbort(ctx context.Context, _ api.Module, stack []uint64) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return
	}
	x.abort = abortPanic
	if api.DecodeI32(stack[0]) == wire.AbortSilent {
		x.abort = abortSilent
	}
}
