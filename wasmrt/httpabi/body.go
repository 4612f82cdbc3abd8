package httpabi

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// maxRead bounds one read, so that its count fits the ABI's number.
const maxRead = 1 << 20

// read fills p with what there is of the body. Zero is its end.
func (x *exchange) read(ctx context.Context, p []byte) int32 {
	if x.Err() != nil {
		return wire.ErrCancelled
	}
	if len(p) == 0 {
		return wire.ErrInvalid // a count of zero would say that the body ends
	}
	if x.body == nil {
		return 0
	}
	if x.began.Load() {
		x.keepBody()
	}
	p = p[:min(len(p), maxRead)]
	x.mayBlock()
	var n int
	var err error
	engine.Block(ctx, func() {
		for n == 0 && err == nil {
			n, err = x.body.Read(p)
		}
	})
	if n > 0 {
		return int32(n) // an error comes again with the next read
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		return 0
	case errors.As(err, &tooLarge):
		return wire.ErrTooLarge
	case x.Err() != nil || x.request.Err() != nil:
		return wire.ErrCancelled
	}
	return wire.ErrIO
}
