package http1

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxHeld is how much of an answer's body waits for the end of the handler, which then sends head and body in one write and
// tells the length. It is what net/http holds back and more.
const maxHeld = 4 << 10

// answer is the http.ResponseWriter of a plain request.
type answer struct {
	c      *conn
	header http.Header
	isHead bool

	status  int     // 0: no final head yet
	head    fields  // as it was when the status was told: what the handler changes later is not sent
	sent    bool    // the head was
	chunked bool    // the body is sent in chunks
	length  int64   // that the handler has set; -1: none
	written int64   // bytes of body
	out     *[]byte // body that waits; of buffers
	err     error   // of the connection
}

// buffers are for answers.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, maxHeld+headRoom)
	return &b
}}

// takeBuffer answers an empty buffer.
func takeBuffer() *[]byte {
	b := buffers.Get().(*[]byte)
	*b = (*b)[:0] // whatever is in it was another request's
	return b
}

func giveBuffer(b *[]byte) {
	if cap(*b) <= maxKept {
		buffers.Put(b)
	}
}

const (
	// headRoom is what most heads fit into.
	headRoom = 1 << 10
	// maxKept bounds the buffers that are used again.
	maxKept = 64 << 10
)

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = make(http.Header, 4)
	}
	return a.header
}

// WriteHeadOf is WriteHeader with fields that need not be in a map first: each calls emit with every one of them. Names are
// canonical, may come twice, and need be valid during the call only, as values. When each fails, nothing was done. A head that says
// how long the body is, or names trailers, or is not the final one, is for Header and WriteHeader: errors.ErrUnsupported.
func (a *answer) WriteHeadOf(status int, each func(emit func(name string, values []string) error) error) error {
	if a.status != 0 || status < 200 || status > 999 {
		return errors.ErrUnsupported
	}
	b := a.head.begin(status)
	err := each(func(name string, values []string) error {
		if name == "Content-Length" || name == "Trailer" {
			return errors.ErrUnsupported
		}
		if a.head.wanted(name, values, status) {
			for _, value := range values {
				b = appendField(b, name, value)
			}
		}
		return nil
	})
	if err != nil {
		a.head.drop()
		return err
	}
	*a.head.text = b
	a.status, a.length = status, -1
	return nil
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 {
		return
	}
	if status < 100 || status > 999 {
		panic("http1: status " + strconv.Itoa(status)) // as net/http does: what it would mean is not for a server to guess
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		a.inform(status)
		return
	}
	a.status, a.length = status, -1
	if text := a.header["Content-Length"]; len(text) > 0 {
		n, err := strconv.ParseInt(strings.TrimSpace(text[0]), 10, 64)
		if err == nil && n >= 0 {
			a.length = n
		} else {
			a.head.streamed = true
			a.header.Del("Content-Length")
		}
	}
	a.head.take(a.header, status)
}

// inform sends an informational answer, such as early hints.
func (a *answer) inform(status int) {
	var f fields
	f.take(a.header, status)
	a.send(append(*f.text, "\r\n"...))
	giveBuffer(f.text)
}

// hasBody says whether an answer of this status may have one.
func (a *answer) hasBody() bool {
	return a.status >= 200 && a.status != http.StatusNoContent && a.status != http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !a.hasBody() {
		return 0, http.ErrBodyNotAllowed
	}
	a.written += int64(len(p))
	if a.length >= 0 && a.written > a.length {
		return 0, http.ErrContentLength
	}
	if a.isHead && a.sent {
		return len(p), nil
	}
	if a.out == nil {
		a.out = takeBuffer()
	}
	if !a.sent && len(*a.out)+len(p) <= maxHeld {
		*a.out = append(*a.out, p...)
		return len(p), nil
	}
	if !a.sent {
		a.sendHead(p)
	}
	a.sendBody(p)
	if a.err != nil {
		return 0, a.err
	}
	return len(p), nil
}

// sendHead sends the head with what is held of the body, because more of it (next) does not fit, or somebody waits.
func (a *answer) sendHead(next []byte) {
	var held []byte
	if a.out != nil {
		held = *a.out
	}
	a.chunked = a.length < 0 && a.hasBody() && !a.isHead
	if len(held) > 0 {
		next = held
	}
	a.endHead(next, -1)
	if !a.isHead && len(held) > 0 {
		*a.head.text = a.appendPiece(*a.head.text, held)
	}
	a.sent = true
	if a.out != nil {
		*a.out = (*a.out)[:0]
	}
	a.send(*a.head.text)
}

// sendBody sends a piece of the body after the head.
func (a *answer) sendBody(p []byte) {
	if a.isHead || len(p) == 0 {
		return
	}
	if !a.chunked {
		a.send(p)
		return
	}
	size := append(strconv.AppendInt(make([]byte, 0, 20), int64(len(p)), 16), "\r\n"...)
	if a.err == nil {
		pieces := net.Buffers{size, p, []byte("\r\n")}
		_, err := pieces.WriteTo(a.c.nc)
		a.failed(err)
	}
}

func (a *answer) appendPiece(b, p []byte) []byte {
	if !a.chunked {
		return append(b, p...)
	}
	b = append(strconv.AppendInt(b, int64(len(p)), 16), "\r\n"...)
	return append(append(b, p...), "\r\n"...)
}

func (a *answer) send(b []byte) {
	if a.err == nil {
		_, err := a.c.socket.Write(b)
		a.failed(err)
	}
}

func (a *answer) failed(err error) {
	if err != nil && a.err == nil {
		a.err = err
		a.c.lost.Store(true)
		a.c.context.gone()
	}
}

// FlushError is what http.ResponseController calls.
func (a *answer) FlushError() error {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.sent {
		a.sendHead(nil)
	}
	return a.err
}

// Flush implements http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() }

// SetReadDeadline is what http.ResponseController calls.
func (a *answer) SetReadDeadline(t time.Time) error {
	a.c.deadlines.Store(true)
	return a.c.nc.SetReadDeadline(t)
}

// SetWriteDeadline is what http.ResponseController calls.
func (a *answer) SetWriteDeadline(t time.Time) error {
	a.c.deadlines.Store(true)
	return a.c.nc.SetWriteDeadline(t)
}

// EnableFullDuplex is what http.ResponseController calls: the request's body is here whole, so it is nothing special.
func (a *answer) EnableFullDuplex() error { return nil }

// finish sends what is left when the handler has returned. It says whether the connection can serve another request.
func (a *answer) finish() (reusable bool) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.sent && a.head.streamed && a.hasBody() && a.length < 0 && !a.isHead {
		a.sendHead(nil)
	}
	switch {
	case !a.sent:
		a.sendWhole()
	case a.chunked:
		a.send(a.head.appendTrailers(nil, a.header))
	}
	if a.out != nil {
		giveBuffer(a.out)
	}
	giveBuffer(a.head.text)
	a.out, a.head.text = nil, nil
	short := a.length >= 0 && a.hasBody() && !a.isHead && a.written != a.length
	return a.err == nil && !short && !a.head.closes
}

// sendWhole sends head and body at once.
func (a *answer) sendWhole() {
	var body []byte
	if a.out != nil {
		body = *a.out
	}
	length := int64(-1)
	if a.length < 0 && a.hasBody() && (!a.isHead || len(body) > 0) && !a.head.streamed {
		length = int64(len(body))
	}
	a.endHead(body, length)
	if !a.isHead {
		*a.head.text = append(*a.head.text, body...)
	}
	a.sent = true
	a.send(*a.head.text)
}

// endHead adds what the server has to say to the handler's fields. The body's beginning is looked at for its type where the
// handler names none; length is what to tell that the handler has not set, or negative.
func (a *answer) endHead(body []byte, length int64) {
	b := *a.head.text
	if a.head.untyped && a.hasBody() && len(body) > 0 {
		b = append(append(append(b, "Content-Type: "...), http.DetectContentType(body)...), "\r\n"...)
	}
	if a.head.undated {
		b = append(append(append(b, "Date: "...), date()...), "\r\n"...)
	}
	switch {
	case a.chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case length >= 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), length, 10), "\r\n"...)
	}
	if a.c.server.closing.Load() && !a.head.closes {
		a.head.closes = true
		b = append(b, "Connection: close\r\n"...)
	}
	*a.head.text = append(b, "\r\n"...)
}
