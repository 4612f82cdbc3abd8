package client

import (
	"context"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
	"github.com/tetratelabs/wazero/api"
)

// Key finds the *Session in the context of a call into a guest. A context may make the session when it is asked for it:
// most calls never ask.
type Key struct{}

// maxWait bounds one wait; the guest asks again.
const maxWait = time.Minute

// HostModule is the import module petrel_http_client_v1. Outside a call that has a session, every function returns
// ErrState.
func HostModule() engine.HostModule {
	return engine.HostModule{Name: wire.ClientModule, Functions: map[string]api.GoModuleFunc{
		"request_open":      onBlock((*Session).request),
		"request_write":     onHandle((*Session).write),
		"request_end":       onHandle((*Session).end),
		"response_head":     onHandle((*Session).head),
		"response_read":     onHandle((*Session).read),
		"response_trailers": onHandle((*Session).trailers),
		"error_text":        onHandle((*Session).errorText),
		"close": func(ctx context.Context, _ api.Module, stack []uint64) {
			handle := api.DecodeI32(stack[0])
			answer(ctx, stack, func(s *Session) int32 { return s.forget(handle) })
		},
		"wait": func(ctx context.Context, _ api.Module, stack []uint64) {
			d := min(time.Duration(api.DecodeU32(stack[0]))*time.Millisecond, maxWait)
			answer(ctx, stack, func(s *Session) (n int32) {
				engine.Block(ctx, func() { n = s.wait(d) })
				return n
			})
		},
	}}
}

func answer(ctx context.Context, stack []uint64, call func(*Session) int32) {
	s, ok := ctx.Value(Key{}).(*Session)
	if !ok || s == nil {
		stack[0] = api.EncodeI32(wire.ErrState)
		return
	}
	stack[0] = api.EncodeI32(call(s))
}

// onBlock is for functions of (pointer, length).
func onBlock(call func(*Session, []byte) int32) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		ptr, size := api.DecodeU32(stack[0]), api.DecodeU32(stack[1])
		answer(ctx, stack, func(s *Session) int32 {
			buf, ok := m.Memory().Read(ptr, size)
			if !ok || size > wire.MaxHead {
				return wire.ErrInvalid
			}
			return call(s, buf)
		})
	}
}

// maxChunk bounds one read or write, so that its count fits the ABI's number.
const maxChunk = 1 << 20

// onHandle is for functions of (handle, pointer, length).
func onHandle(call func(*Session, int32, []byte) int32) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, stack []uint64) {
		handle, ptr, size := api.DecodeI32(stack[0]), api.DecodeU32(stack[1]), api.DecodeU32(stack[2])
		answer(ctx, stack, func(s *Session) int32 {
			buf, ok := m.Memory().Read(ptr, size)
			if !ok {
				return wire.ErrInvalid
			}
			return call(s, handle, buf[:min(len(buf), maxChunk)])
		})
	}
}
