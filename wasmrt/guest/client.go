package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"runtime"
	"sync/atomic"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// clientHost is the ABI of outgoing requests as this package uses it: the imports in a guest, a double in its tests.
type clientHost interface {
	open(head []byte) int32
	write(handle int32, p []byte) int32
	end(handle int32, trailers []byte) int32
	head(handle int32) ([]byte, int32)
	read(handle int32, p []byte) int32
	trailers(handle int32) ([]byte, int32)
	errorText(handle int32) string
	close(handle int32)
	wait(millis uint32) int32
}

// The host is asked to wait for so long, in milliseconds: short at first, because other goroutines stand still meanwhile.
const (
	minWait = 1
	maxWait = 16
)

// chunkSize is how much of a body is handed over at a time.
const chunkSize = 16 << 10

// noHandle is errorText's when no exchange was opened.
const noHandle = -1

// roundTripper makes outgoing requests through the host.
type roundTripper struct{ host clientHost }

// RoundTrip implements http.RoundTripper.
func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x, err := t.open(r)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	if r.Body != nil && r.Body != http.NoBody {
		go x.send(r)
	} else {
		t.host.end(x.handle, nil)
	}
	resp, err := x.response()
	if err != nil {
		x.close(errOutgoingClosed)
		return nil, err
	}
	return resp, nil
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // the request has failed already
	}
}

// open hands the head over.
func (t *roundTripper) open(r *http.Request) (*outgoing, error) {
	head := &wire.RequestHead{Method: r.Method, URI: r.URL.String(), Host: r.Host, Header: r.Header, ContentLength: r.ContentLength}
	if head.Method == "" {
		head.Method = http.MethodGet
	}
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		head.ContentLength = 0
	case r.ContentLength == 0:
		head.ContentLength = -1 // net/http means by it that nobody knows
	}
	for name := range r.Trailer {
		head.Trailer = append(head.Trailer, name)
	}
	if user := r.URL.User; user != nil {
		u, h := *r.URL, r.Header.Clone()
		u.User = nil
		if password, _ := user.Password(); h.Get("Authorization") == "" {
			basic := http.Request{Header: h}
			basic.SetBasicAuth(user.Username(), password)
		}
		head.URI, head.Header = u.String(), h
	}
	handle := t.host.open(wire.AppendRequestHead(nil, head))
	if handle < 0 {
		return nil, outgoingError(t.host, noHandle, handle)
	}
	return &outgoing{host: t.host, handle: handle, ctx: r.Context(), request: r}, nil
}

// outgoing is one request under way.
type outgoing struct {
	host    clientHost
	handle  int32
	ctx     context.Context
	request *http.Request
	why     atomic.Pointer[error] // why it is closed; nil while it is open
}

var errOutgoingClosed = errors.New("the response's body is closed")

// poll makes a call until the host has an answer other than "not yet". Other goroutines run between.
func (x *outgoing) poll(call func() int32) (int32, error) {
	wait := uint32(minWait)
	for {
		for range 2 { // before and after the others had their turn
			if why := x.why.Load(); why != nil {
				return 0, *why
			}
			if n := call(); n >= 0 {
				return n, nil
			} else if n != wire.ErrAgain {
				return 0, outgoingError(x.host, x.handle, n)
			}
			if err := x.ctx.Err(); err != nil {
				return 0, context.Cause(x.ctx)
			}
			runtime.Gosched()
		}
		if x.host.wait(wait) == wire.ErrCancelled {
			return 0, fmt.Errorf("http request: %w", errGone)
		}
		wait = min(2*wait, maxWait)
	}
}

// send hands the request's body over, beside the wait for the response: a server may answer before it has all of it.
func (x *outgoing) send(r *http.Request) {
	defer closeBody(r)
	buf := make([]byte, chunkSize)
	for {
		n, err := r.Body.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			took, failed := x.poll(func() int32 { return x.host.write(x.handle, p) })
			if failed != nil {
				return // the response tells
			}
			p = p[took:]
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			x.close(err) // half a body must not look like a whole one
			return
		}
	}
	if x.why.Load() != nil {
		return
	}
	var block []byte
	if len(r.Trailer) > 0 {
		block = wire.AppendHeader(nil, r.Trailer)
	}
	x.host.end(x.handle, block)
}

// response waits for the head.
func (x *outgoing) response() (*http.Response, error) {
	var block []byte
	_, err := x.poll(func() (code int32) {
		block, code = x.host.head(x.handle)
		return code
	})
	if err != nil {
		return nil, err
	}
	head, err := wire.DecodeResponseHead(string(block))
	if err != nil {
		return nil, err
	}
	resp := &http.Response{
		Status: fmt.Sprintf("%d %s", head.Status, http.StatusText(head.Status)), StatusCode: head.Status,
		Proto: head.Proto, Header: head.Header, ContentLength: head.ContentLength, Request: x.request,
	}
	resp.ProtoMajor, resp.ProtoMinor, _ = http.ParseHTTPVersion(head.Proto)
	if len(head.Trailer) > 0 {
		resp.Trailer = http.Header{}
		for _, name := range head.Trailer {
			resp.Trailer[name] = nil
		}
	}
	resp.Body = &incoming{x: x, response: resp}
	return resp, nil
}

// close forgets the exchange, once.
func (x *outgoing) close(why error) {
	if x.why.CompareAndSwap(nil, &why) {
		x.host.close(x.handle)
	}
}

// incoming is the body of a response.
type incoming struct {
	x        *outgoing
	response *http.Response
	err      error // what every further read says
}

func (b *incoming) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	n, err := b.x.poll(func() int32 { return b.x.host.read(b.x.handle, p) })
	switch {
	case err != nil:
		b.err = err
	case n == 0:
		b.err = io.EOF
		b.readTrailers()
		b.x.close(errOutgoingClosed)
	}
	return int(n), b.err
}

func (b *incoming) readTrailers() {
	block, code := b.x.host.trailers(b.x.handle)
	if code < 0 {
		return
	}
	trailer, err := wire.DecodeHeader(string(bytes.Clone(block)))
	if err != nil {
		return
	}
	if len(trailer) > 0 && b.response.Trailer == nil {
		b.response.Trailer = http.Header{}
	}
	for name, values := range trailer {
		b.response.Trailer[name] = values
	}
}

func (b *incoming) Close() error {
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	b.x.close(errOutgoingClosed)
	return nil
}

// outgoingError makes an error of the ABI's numbers, with the host's own words.
func outgoingError(h clientHost, handle, code int32) error {
	text := h.errorText(handle)
	var kind error
	switch code {
	case wire.ErrDenied:
		kind = fs.ErrPermission
	case wire.ErrCancelled:
		kind = errGone
	case wire.ErrState:
		kind = errors.New("the host serves no requests here: not in an init function, and not in this kind of guest")
	case wire.ErrLimit, wire.ErrInvalid, wire.ErrIO, wire.ErrLength:
	default:
		return fmt.Errorf("http request: the host says %d %s", code, text)
	}
	switch {
	case kind == nil:
		return fmt.Errorf("http request: %s", text)
	case text == "":
		return fmt.Errorf("http request: %w", kind)
	}
	return fmt.Errorf("http request: %s: %w", text, kind)
}
