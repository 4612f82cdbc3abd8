package httpabi

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// maxDrain bounds what is read of a request's body that its guest has left, in bytes.
	maxDrain = 16 << 20
	// drainTime bounds how long that takes.
	drainTime = 5 * time.Second
)

// incoming is a request's body that knows whether all of it was read.
type incoming struct {
	io.ReadCloser
	ended atomic.Bool
}

func (b *incoming) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}

// keepBody lets the guest go on reading the request while it answers. An HTTP/1 server would throw the rest of the body
// away with the first of the response that it sends, so this is called before anything is sent, and only by guests that
// may still read: the server does more for all others, such as closing the connection to a client that sends too much.
func (x *exchange) keepBody() {
	if x.duplex || x.body == nil || x.r.ProtoMajor != 1 || x.body.ended.Load() {
		return
	}
	x.duplex = http.NewResponseController(x.w).EnableFullDuplex() == nil // who cannot has no such server behind it
}

// drain reads what a guest has left of its request's body when keepBody was called. The server cannot do it: when it
// meets the body's end after the handler, it waits for the connection's next bytes twice at a time and panics. A client
// that has too much to send is cut off after it was sent the answer.
func (x *exchange) drain() {
	if !x.duplex || x.body.ended.Load() {
		return
	}
	rc := http.NewResponseController(x.w)
	_ = rc.Flush() // the client may wait for the answer before it goes on
	_ = rc.SetReadDeadline(time.Now().Add(drainTime))
	if _, err := io.CopyN(io.Discard, x.body, maxDrain); !errors.Is(err, io.EOF) {
		panic(http.ErrAbortHandler)
	}
}

// cut ends the connection, and does not return.
func (x *exchange) cut() {
	x.duplex = false
	panic(http.ErrAbortHandler)
}
