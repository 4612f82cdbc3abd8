package httpabi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

type abort int

const (
	abortNone abort = iota
	abortPanic
	abortSilent
)

// exchange is one request and its response, as the guest's calls work on it. But for unblock, it is used on the goroutine
// that serves the request only.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	head []byte
	body io.Reader

	began     atomic.Bool     // the final head was handed to net/http
	announced map[string]bool // trailers that the head announced
	left      int64           // bytes of response body still allowed
	abort     abort
}

func newExchange(w http.ResponseWriter, r *http.Request, cfg Config) (*exchange, *Problem) {
	x := &exchange{w: w, r: r, left: cfg.MaxResponseBody}
	head := &wire.RequestHead{
		Method: r.Method, URI: r.RequestURI, Proto: r.Proto, Host: r.Host, RemoteAddr: r.RemoteAddr,
		TLS: r.TLS != nil, ContentLength: r.ContentLength, Header: r.Header,
	}
	if head.URI == "" { // a request that did not come over a connection
		head.URI = r.URL.RequestURI()
	}
	for name := range r.Trailer {
		head.Trailer = append(head.Trailer, name)
	}
	x.head = wire.AppendRequestHead(nil, head)
	if len(x.head) > wire.MaxHead {
		return x, problem(http.StatusRequestHeaderFieldsTooLarge, CodeHead, "the request's head is too large for a guest", "send fewer or shorter headers")
	}
	x.body = http.NoBody
	if r.Body != nil {
		x.body = http.MaxBytesReader(w, r.Body, cfg.MaxRequestBody)
	}
	return x, nil
}

// unblockAfter sees to it that the guest does not stay blocked in the connection when its time is over. The function
// returned takes that back, and does not return while unblock is under way: the connection may serve another request next.
func (x *exchange) unblockAfter(ctx context.Context) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		x.unblock()
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// unblock ends a read or a write of the connection under way, from another goroutine. Before the response has begun the
// guest cannot be in a write, and the connection's writing side must stay good for telling the client.
func (x *exchange) unblock() {
	past := time.Unix(1, 0)
	rc := http.NewResponseController(x.w)
	_ = rc.SetReadDeadline(past) // not every ResponseWriter can: then only a server's own timeouts help
	if x.began.Load() {
		_ = rc.SetWriteDeadline(past)
	}
}

// maxRead bounds one read, so that its count fits the ABI's number.
const maxRead = 1 << 20

// read fills p with what there is of the body. Zero is its end.
func (x *exchange) read(ctx context.Context, p []byte) int32 {
	if ctx.Err() != nil {
		return wire.ErrCancelled
	}
	if len(p) == 0 {
		return wire.ErrInvalid // a count of zero would say that the body ends
	}
	p = p[:min(len(p), maxRead)]
	for {
		n, err := x.body.Read(p)
		if n > 0 {
			return int32(n) // an error comes again with the next read
		}
		var tooLarge *http.MaxBytesError
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			return 0
		case errors.As(err, &tooLarge):
			return wire.ErrTooLarge
		case ctx.Err() != nil || x.r.Context().Err() != nil:
			return wire.ErrCancelled
		default:
			return wire.ErrIO
		}
	}
}

// respond takes the response's head. Informational ones (103 and its like) may come before the final one.
func (x *exchange) respond(status int32, block []byte) int32 {
	if x.began.Load() {
		return wire.ErrState
	}
	if status < 100 || status > 999 || status == http.StatusSwitchingProtocols {
		return wire.ErrInvalid
	}
	header, err := wire.DecodeHeader(block)
	if err != nil {
		return wire.ErrInvalid
	}
	h := x.w.Header()
	clear(h)
	for name, values := range header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	if status >= 200 {
		x.announce(h)
		x.began.Store(true)
	}
	x.w.WriteHeader(int(status))
	return 0
}

func (x *exchange) announce(h http.Header) {
	x.announced = map[string]bool{}
	for _, line := range h["Trailer"] {
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
	if ctx.Err() != nil {
		return wire.ErrCancelled
	}
	if int64(len(p)) > x.left {
		x.abort = abortSilent // what the client has is not the whole
		return wire.ErrTooLarge
	}
	x.left -= int64(len(p))
	_, err := x.w.Write(p)
	return x.writeError(ctx, err)
}

func (x *exchange) writeError(ctx context.Context, err error) int32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, http.ErrContentLength):
		return wire.ErrLength
	case errors.Is(err, http.ErrBodyNotAllowed):
		return wire.ErrNotAllowed
	case ctx.Err() != nil || x.r.Context().Err() != nil:
		return wire.ErrCancelled
	}
	return wire.ErrIO
}

func (x *exchange) flush(ctx context.Context) int32 {
	if !x.began.Load() {
		return wire.ErrState
	}
	if ctx.Err() != nil {
		return wire.ErrCancelled
	}
	err := http.NewResponseController(x.w).Flush()
	if errors.Is(err, http.ErrNotSupported) {
		err = nil // a buffering ResponseWriter: the data comes at the end
	}
	return x.writeError(ctx, err)
}

// trailers sets what follows the response's body.
func (x *exchange) trailers(block []byte) int32 {
	if !x.began.Load() {
		return wire.ErrState
	}
	trailer, err := wire.DecodeHeader(block)
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
