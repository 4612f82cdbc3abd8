package engine

import (
	"context"
)

// callContext is the context of one call into a guest. Host functions get it, so that they find the instance by a type
// assertion; everything else is the embedded context's. It is never changed: a host function may leave a goroutine
// behind that still asks it.
type callContext struct {
	context.Context
	in *Instance
}

type instanceKey struct{}

// Value finds the instance also through contexts that wazero or a host function has made of this one.
func (c *callContext) Value(key any) any {
	if _, ok := key.(instanceKey); ok {
		return c.in
	}
	return c.Context.Value(key)
}

// instanceOf returns the instance that a host function's context belongs to; nil when it belongs to none.
func instanceOf(ctx context.Context) *Instance {
	if c, ok := ctx.(*callContext); ok {
		return c.in
	}
	in, _ := ctx.Value(instanceKey{}).(*Instance)
	return in
}

// CallContext returns, of a context that a host function got, the one that was given to Instance.Call.
func CallContext(ctx context.Context) context.Context {
	if c, ok := ctx.(*callContext); ok {
		return c.Context
	}
	return ctx
}

// Block runs wait, in which a host function waits for the world, and lets other guests have the processor meanwhile. The
// context is the host function's. wait must return when that ends.
func Block(ctx context.Context, wait func()) {
	if in := instanceOf(ctx); in != nil {
		in.block(wait)
		return
	}
	wait()
}

// causeOf tells why a context ended.
func causeOf(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return ctx.Err()
}
