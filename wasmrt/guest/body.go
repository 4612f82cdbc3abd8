package guest

import (
	"fmt"
	"io"
	"net/http"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// body streams the request's body from the host.
type body struct {
	host    host
	request *http.Request
	left    int64 // bytes to come, when that is known; else negative
	err     error // what every further read says
	closed  bool
}

func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	n := b.host.requestBodyRead(p)
	switch {
	case n > 0:
		b.read(int64(n))
		return int(n), b.err
	case n == 0:
		b.err = io.EOF
		b.readTrailers()
	default:
		b.err = hostError("request body", n)
	}
	return 0, b.err
}

// read counts. The last byte of a body whose length is known spares the call that would say that it ends.
func (b *body) read(n int64) {
	if b.left < 0 {
		return
	}
	if b.left -= n; b.left <= 0 && b.request.Trailer == nil {
		b.err = io.EOF
	}
}

// readTrailers fills in the trailers, which come after the body.
func (b *body) readTrailers() {
	if b.request.Trailer == nil {
		return
	}
	block, code := fetch(make([]byte, blockSize), b.host.requestTrailers)
	if code < 0 {
		return
	}
	if trailer, err := wire.DecodeHeader(string(block)); err == nil {
		for name, values := range trailer {
			b.request.Trailer[name] = values
		}
	}
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

// hostError makes of the ABI's numbers the errors that net/http has for the same thing.
func hostError(what string, code int32) error {
	switch code {
	case wire.ErrTooLarge:
		if what == "request body" {
			return &http.MaxBytesError{}
		}
		return fmt.Errorf("%s: over the host's limit", what)
	case wire.ErrCancelled:
		return fmt.Errorf("%s: %w", what, errGone)
	case wire.ErrLength:
		return http.ErrContentLength
	case wire.ErrNotAllowed:
		return http.ErrBodyNotAllowed
	case wire.ErrIO:
		return fmt.Errorf("%s: %w", what, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s: the host says %d", what, code)
}
