package httpwasm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

type exchangeKey struct{}

// features is a set of what the guest may ask of the host.
type features uint32

const (
	bufferRequest  features = 1 << iota // what it reads of the request is kept for the next handler
	bufferResponse                      // the next handler's response is kept for the guest
	trailers
	supported = bufferRequest | bufferResponse | trailers
)

// phase is how far a guest is with a request.
type phase int

const (
	initialising phase = iota // there is no request
	handling                  // handle_request runs
	responding                // the next handler has answered, handle_response runs
)

// exchange is one request and its response, as the guest's calls work on it. It is used on one goroutine only.
type exchange struct {
	server   *Server
	phase    phase
	features features
	stderr   io.Writer
	broken   error // what a host function ended the guest for

	r        *http.Request // a copy: the guest may change it for the next handler
	read     *capped       // what was read of the body, when it is kept
	replaced *capped       // the body that the guest wrote instead

	response
}

// newExchange makes an exchange in the phase before the request. Without w and r it is one for an initialisation alone.
func newExchange(s *Server, w http.ResponseWriter, r *http.Request, stderr io.Writer) *exchange {
	x := &exchange{server: s, stderr: stderr, response: response{w: w}}
	if r == nil {
		return x
	}
	own, u := *r, *r.URL
	own.URL, own.Header = &u, r.Header.Clone()
	if own.Header == nil {
		own.Header = http.Header{}
	}
	if own.Body == nil {
		own.Body = http.NoBody
	}
	x.r = &own
	return x
}

// blame prefers what a host function had to say to how the engine saw the guest end.
func (x *exchange) blame(err error) error {
	if x.broken != nil {
		return &HostError{Err: x.broken, End: err}
	}
	return err
}

// enable adds features and tells all that are enabled.
func (x *exchange) enable(f features) features {
	x.features |= f & supported
	return x.features
}

// readRequest fills p from the request's body, as the ABI wants it: to the brim or to the end.
func (x *exchange) readRequest(ctx context.Context, p []byte) (n int, end bool) {
	if x.phase != handling && x.features&bufferRequest == 0 {
		x.misuse("cannot read the request body after the next handler, unless buffer_request is enabled")
	}
	var err error
	engine.Block(ctx, func() {
		for n < len(p) && err == nil {
			var m int
			m, err = x.r.Body.Read(p[n:])
			n += m
		}
	})
	if x.features&bufferRequest != 0 && n > 0 {
		if x.read == nil {
			x.read = &capped{left: x.server.cfg.MaxBuffer}
		}
		if _, full := x.read.Write(p[:n]); full != nil {
			x.fail(full)
		}
	}
	if err != nil && err != io.EOF && ctx.Err() == nil { // with its time the engine ends the guest
		x.fail(fmt.Errorf("read request body: %w", err))
	}
	return n, err == io.EOF
}

// writeRequest replaces the request's body for the next handler; further calls append.
func (x *exchange) writeRequest(p []byte) {
	if x.phase != handling {
		x.misuse("cannot write the request body after the next handler")
	}
	if x.replaced == nil {
		x.replaced = &capped{left: x.server.cfg.MaxBuffer}
	}
	if _, err := x.replaced.Write(p); err != nil {
		x.fail(err)
	}
}

// setURI is for the next handler too. Empty means the root.
func (x *exchange) setURI(uri string) {
	if uri == "" {
		uri = "/"
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		x.misuse(fmt.Sprintf("the URI %q is none: %v", uri, err))
	}
	x.r.RequestURI = uri
	x.r.URL.Path, x.r.URL.RawPath = u.Path, u.RawPath
	x.r.URL.ForceQuery, x.r.URL.RawQuery = u.ForceQuery, u.RawQuery
}

// uri is path and query as they came, or as the guest set them.
func (x *exchange) uri() string {
	path := x.r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	if x.r.URL.ForceQuery || x.r.URL.RawQuery != "" {
		path += "?" + x.r.URL.RawQuery
	}
	return path
}

// next lets the next handler answer, or stands in for it.
func (x *exchange) next() error {
	next := x.server.cfg.Next
	if next == nil {
		if x.answered() {
			x.phase, x.wrote = responding, false
			return nil
		}
		next = x.server.cfg.NotFound
	}
	switch {
	case x.replaced != nil:
		x.r.Body, x.r.ContentLength = io.NopCloser(&x.replaced.Buffer), int64(x.replaced.Len())
	case x.read != nil:
		x.r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(x.read.Bytes()), x.r.Body))
	}
	if x.features&bufferResponse != 0 {
		x.keep(x.server.cfg.MaxBuffer)
	}
	next.ServeHTTP(&x.response, x.r)
	x.phase, x.wrote = responding, false
	return x.err
}

// capped is a buffer with a limit.
type capped struct {
	bytes.Buffer
	left int64
}

func (c *capped) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		return 0, &BufferError{}
	}
	c.left -= int64(len(p))
	return c.Buffer.Write(p)
}
