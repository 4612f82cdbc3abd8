package httpabi

import (
	"net/http"
	"sync"
	"time"

	"github.com/petrelrun/petrel/wasmrt/httpabi/client"
	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

type abort int

const (
	abortNone abort = iota
	abortPanic
	abortSilent
)

// exchange is one request and its response, as the guest's calls work on it. It is the context of these calls. But for
// its lifetime, it is used on the goroutine that serves the request only.
type exchange struct {
	lifetime
	r    *http.Request
	head *[]byte   // encoded; of heads
	body *incoming // nil when the request has none

	announced map[string]bool // trailers that the head announced; nil when there are none
	left      int64           // bytes of response body still allowed
	written   int             // bytes of it handed on, up to smallResponse
	abort     abort
	duplex    bool // the server leaves the request's body alone

	own *client.Session // the guest's own requests; nil until it makes one

	stdout, stderr lineWriter
}

type exchangeKey struct{}

// Value implements context.Context. It hides the client's context, because it does not end with that.
func (x *exchange) Value(key any) any {
	switch key.(type) {
	case exchangeKey:
		return x
	case client.Key:
		return x.session()
	}
	return nil
}

// session is the guest's own requests, made when it makes the first; nil when it cannot make any.
func (x *exchange) session() *client.Session {
	if x.own == nil && x.handler.client != nil {
		x.own = x.handler.client.Session(x)
	}
	return x.own
}

const (
	// headSize is the room for an encoded head that most fit in.
	headSize = 1 << 10
	// maxKeptHead is how large a buffer of an encoded head may be to be used again.
	maxKeptHead = 64 << 10
)

// heads are buffers for encoded heads.
var heads = sync.Pool{New: func() any {
	b := make([]byte, 0, headSize)
	return &b
}}

func (h *Handler) newExchange(w http.ResponseWriter, r *http.Request, begun time.Time) *exchange {
	x := &exchange{r: r, left: h.cfg.MaxResponseBody}
	x.handler, x.w, x.request = h, w, r.Context()
	x.ends.Store(int64(begun.Sub(h.born) + h.cfg.WallTime))
	x.stdout.lines, x.stderr.lines = h.stdout, h.stderr
	if r.Body != nil && r.ContentLength < 0 { // what has a length was compared with the limit
		r.Body = http.MaxBytesReader(w, r.Body, h.cfg.MaxRequestBody)
	}
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		x.body = &incoming{ReadCloser: r.Body}
		r.Body = x.body
	}
	return x
}

// encode makes the head that the guest is handed.
func (x *exchange) encode() *Problem {
	r := x.r
	head := wire.RequestHead{
		Method: r.Method, URI: r.RequestURI, Proto: r.Proto, Host: r.Host, RemoteAddr: r.RemoteAddr,
		TLS: r.TLS != nil, ContentLength: r.ContentLength, Header: r.Header,
	}
	if head.URI == "" { // a request that did not come over a connection
		head.URI = r.URL.RequestURI()
	}
	for name := range r.Trailer {
		head.Trailer = append(head.Trailer, name)
	}
	x.head = heads.Get().(*[]byte)
	*x.head = wire.AppendRequestHead((*x.head)[:0], &head)
	if len(*x.head) > wire.MaxHead {
		return problem(http.StatusRequestHeaderFieldsTooLarge, CodeHead, "the request's head is too large for a guest", "send fewer or shorter headers")
	}
	return nil
}

// release is called when nothing of the guest runs any more.
func (x *exchange) release() {
	if x.own != nil {
		x.own.Close()
	}
	x.finished()
	if x.head != nil && cap(*x.head) <= maxKeptHead {
		heads.Put(x.head)
	}
	x.head = nil
}
