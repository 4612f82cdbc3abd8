package guest

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// newRequest makes the http.Request that a server would make of the same bytes. The function returned ends its context.
func newRequest(h host) (*http.Request, func(), error) {
	block, code := h.requestHead()
	if code < 0 {
		return nil, nil, hostError("request head", code)
	}
	head, err := wire.DecodeRequestHead(block)
	if err != nil {
		return nil, nil, err
	}
	u, err := parseURI(head.Method, head.URI)
	if err != nil {
		return nil, nil, err
	}
	r := &http.Request{
		Method: head.Method, URL: u, RequestURI: head.URI, Proto: head.Proto, Host: head.Host,
		RemoteAddr: head.RemoteAddr, Header: head.Header, ContentLength: head.ContentLength, Body: http.NoBody,
	}
	r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(head.Proto)
	if u.Host != "" { // a request to a proxy names the host in its first line, which counts more than the header
		r.Host = u.Host
	}
	if head.TLS {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, ServerName: head.Host}
	}
	if len(head.Trailer) > 0 {
		r.Trailer = http.Header{}
		for _, name := range head.Trailer {
			r.Trailer[name] = nil
		}
	}
	if head.ContentLength != 0 {
		r.Body = &body{host: h, request: r}
		if head.ContentLength < 0 && r.ProtoMajor == 1 {
			r.TransferEncoding = []string{"chunked"}
		}
	}
	ctx := newContext(h)
	return r.WithContext(ctx), ctx.end, nil
}

// parseURI reads a request line's target as net/http does: CONNECT has a host and no path.
func parseURI(method, uri string) (*url.URL, error) {
	if method == http.MethodConnect && !strings.HasPrefix(uri, "/") {
		u, err := url.ParseRequestURI("http://" + uri)
		if err == nil {
			u.Scheme = ""
		}
		return u, err
	}
	return url.ParseRequestURI(uri)
}

// body streams the request's body from the host.
type body struct {
	host    host
	request *http.Request
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
		return int(n), nil
	case n == 0:
		b.err = io.EOF
		b.readTrailers()
	default:
		b.err = hostError("request body", n)
	}
	return 0, b.err
}

// readTrailers fills in the trailers, which come after the body.
func (b *body) readTrailers() {
	if b.request.Trailer == nil {
		return
	}
	block, code := b.host.requestTrailers()
	if code < 0 {
		return
	}
	if trailer, err := wire.DecodeHeader(bytes.Clone(block)); err == nil {
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
