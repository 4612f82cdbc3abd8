package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// exchange is one outgoing request and its response.
type exchange struct {
	cancel context.CancelFunc
	sent   *flow // the request's body; nil when it has none
	got    *flow // the response's body

	request   *http.Request
	announced map[string]bool // its trailers

	mu       sync.Mutex
	ended    bool        // the guest has said all of the request's body
	trailer  http.Header // that follows it
	head     []byte      // encoded, when it has come
	trailers []byte      // encoded, when the body has ended
	err      error
}

// newRequest makes what net/http sends of a guest's head.
func newRequest(ctx context.Context, head *wire.RequestHead) (*http.Request, error) {
	u, err := url.Parse(head.URI)
	switch {
	case err != nil:
		return nil, &urlError{u: fmt.Sprintf("%.100q", head.URI), why: "it is malformed"}
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, &urlError{u: fmt.Sprintf("%.100q", head.URI), why: "it is not absolute, or neither http nor https"}
	case u.User != nil:
		return nil, &urlError{u: u.Redacted(), why: "it has a user name; send an Authorization header"}
	}
	r, err := http.NewRequestWithContext(context.WithValue(ctx, schemeKey{}, u.Scheme), head.Method, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header = make(http.Header, len(head.Header)+1)
	for name, values := range head.Header {
		name = http.CanonicalHeaderKey(name)
		r.Header[name] = append(r.Header[name], values...)
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header["User-Agent"] = nil // net/http would name itself
	}
	if head.Host != "" {
		r.Host = head.Host
	}
	if len(head.Trailer) > 0 {
		r.Trailer = http.Header{}
		for _, name := range head.Trailer {
			r.Trailer[http.CanonicalHeaderKey(name)] = nil
		}
	}
	return r, nil
}

// sentBody is the request's body as net/http reads it. The trailers are set on its goroutine, with the body's end: it
// looks at their names before.
type sentBody struct {
	*flow
	x *exchange
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.flow.Read(p)
	if err == io.EOF {
		b.x.mu.Lock()
		defer b.x.mu.Unlock()
		for name, values := range b.x.trailer {
			if name = http.CanonicalHeaderKey(name); b.x.announced[name] {
				b.x.request.Trailer[name] = values
			}
		}
	}
	return n, err
}

// run makes the request and takes in the response. It ends with the exchange's context, or when everything has come.
func (x *exchange) run(transport http.RoundTripper, changed func()) {
	defer changed()
	resp, err := transport.RoundTrip(x.request)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		err = errors.Join(errors.New("the server switches protocols, which is not served"), resp.Body.Close())
	}
	if err != nil {
		x.fail(err)
		return
	}
	head := &wire.ResponseHead{
		Status: resp.StatusCode, Proto: resp.Proto, ContentLength: resp.ContentLength, Header: resp.Header,
		Trailer: slices.Sorted(maps.Keys(resp.Trailer)),
	}
	x.mu.Lock()
	x.head = wire.AppendResponseHead(nil, head)
	x.mu.Unlock()
	changed()
	_, err = io.Copy(x.got, resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err != nil {
		x.fail(err)
		return
	}
	x.mu.Lock()
	x.trailers = wire.AppendHeader(nil, resp.Trailer)
	x.mu.Unlock()
	x.got.end(io.EOF)
}

// fail remembers the first error, and ends both bodies with it.
func (x *exchange) fail(err error) {
	x.mu.Lock()
	if x.err == nil {
		x.err = err
	}
	x.mu.Unlock()
	x.got.end(err)
	if x.sent != nil {
		x.sent.end(err)
	}
}

func (x *exchange) failure() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// close ends what is under way. The goroutine ends soon after.
func (x *exchange) close() {
	x.cancel()
	_ = x.got.Close() // a flow closes without fail
	if x.sent != nil {
		_ = x.sent.Close()
	}
}
