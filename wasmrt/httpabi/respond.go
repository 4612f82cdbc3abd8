package httpabi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"unsafe"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// smallResponse is how much net/http buffers of a response whatever the connection does. Writing more may have to wait
// for the client.
const smallResponse = 2 << 10

// respond takes the response's head. Informational ones (103 and its like) may come before the final one.
func (x *exchange) respond(ctx context.Context, status int32, block []byte) int32 {
	if x.began.Load() {
		return wire.ErrState
	}
	if status < 100 || status > 999 || status == http.StatusSwitchingProtocols {
		return wire.ErrInvalid
	}
	if done, code := x.respondPlainly(status, block); done {
		return code
	}
	h := x.w.Header()
	clear(h)
	err := wire.EachField(string(block), func(name string, values []string) error {
		name = http.CanonicalHeaderKey(name)
		if had, twice := h[name]; twice {
			values = append(had[:len(had):len(had)], values...)
		}
		h[name] = values
		return nil
	})
	if err != nil {
		clear(h)
		return wire.ErrInvalid
	}
	if status < 200 {
		x.mayBlock()
		engine.Block(ctx, func() { x.w.WriteHeader(int(status)) })
		return 0
	}
	x.announce(h)
	x.began.Store(true)
	x.w.WriteHeader(int(status))
	return 0
}

// headWriter is a server's ResponseWriter that takes a head without a map of it. It says errors.ErrUnsupported of heads that
// it does not take so, and has done nothing when it fails.
type headWriter interface {
	WriteHeadOf(status int, each func(emit func(name string, values []string) error) error) error
}

// respondPlainly hands a final head on as it comes, where the server can take it.
func (x *exchange) respondPlainly(status int32, block []byte) (done bool, code int32) {
	w, ok := x.w.(headWriter)
	if !ok || status < 200 {
		return false, 0
	}
	err := w.WriteHeadOf(int(status), func(emit func(string, []string) error) error {
		// The guest stands still meanwhile, so its memory can be looked at.
		return wire.EachField(unsafe.String(unsafe.SliceData(block), len(block)), func(name string, values []string) error {
			return emit(http.CanonicalHeaderKey(name), values)
		})
	})
	switch {
	case err == nil:
		x.began.Store(true)
		return true, 0
	case errors.Is(err, errors.ErrUnsupported):
		return false, 0
	}
	return true, wire.ErrInvalid
}

func (x *exchange) announce(h http.Header) {
	lines := h["Trailer"]
	if len(lines) == 0 {
		return
	}
	x.announced = map[string]bool{}
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			x.announced[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
}

// write hands on a piece of the response's body, all or nothing.
func (x *exchange) write(ctx context.Context, p []byte) int32 {
	if !x.began.Load() {
		return wire.ErrState
	}
	if x.Err() != nil {
		return wire.ErrCancelled
	}
	if int64(len(p)) > x.left {
		x.abort = abortSilent // what the client has is not the whole
		x.handler.count(CodeResponseTooLarge)
		return wire.ErrTooLarge
	}
	x.left -= int64(len(p))
	if len(p) <= smallResponse-x.written {
		x.written += len(p)
		_, err := x.w.Write(p)
		return x.writeError(err)
	}
	x.written = smallResponse
	x.keepBody()
	x.mayBlock()
	var err error
	engine.Block(ctx, func() { _, err = x.w.Write(p) })
	return x.writeError(err)
}

func (x *exchange) writeError(err error) int32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, http.ErrContentLength):
		return wire.ErrLength
	case errors.Is(err, http.ErrBodyNotAllowed):
		return wire.ErrNotAllowed
	case x.Err() != nil || x.request.Err() != nil:
		return wire.ErrCancelled
	}
	return wire.ErrIO
}

func (x *exchange) flush(ctx context.Context) int32 {
	if !x.began.Load() {
		return wire.ErrState
	}
	if x.Err() != nil {
		return wire.ErrCancelled
	}
	x.keepBody()
	x.mayBlock()
	var err error
	engine.Block(ctx, func() { err = http.NewResponseController(x.w).Flush() })
	if errors.Is(err, http.ErrNotSupported) {
		err = nil // a buffering ResponseWriter: the data comes at the end
	}
	return x.writeError(err)
}

// trailers sets what follows the response's body.
func (x *exchange) trailers(block []byte) int32 {
	if !x.began.Load() {
		return wire.ErrState
	}
	trailer, err := wire.DecodeHeader(string(block))
	if err != nil {
		return wire.ErrInvalid
	}
	for name, values := range trailer {
		name = http.CanonicalHeaderKey(name)
		if !x.announced[name] {
			name = http.TrailerPrefix + name
		}
		x.w.Header()[name] = values
	}
	return 0
}
