package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// bufferSize is how much of a response waits for more, to spare calls of the host.
const bufferSize = 4096

// response implements http.ResponseWriter.
type response struct {
	exchange *exchange
	host     host
	header   http.Header

	status  int    // zero until WriteHeader
	block   []byte // the encoded head, until it is sent
	sent    bool
	headErr error
	buf     []byte   // what waits to be sent; its room is bufferSize, from the first write on
	err     error    // what every further write says
	trailer []string // names that the head announced
}

var (
	_ http.ResponseWriter             = (*response)(nil)
	_ http.Flusher                    = (*response)(nil)
	_ interface{ FlushError() error } = (*response)(nil) // what http.ResponseController looks for
)

// answer makes the exchange's response ready.
func (x *exchange) answer(h host) *response {
	w := &x.response
	w.host = h
	return w
}

func (w *response) Header() http.Header { return w.header }

// WriteHeader fixes the head as it is now; it is sent with the first of the body.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	if w.status != 0 {
		logger.Printf("http: superfluous response.WriteHeader call (status %d after %d)", status, w.status)
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.host.responseHead(status, wire.AppendHeader(nil, w.header))
		return
	}
	w.status = status
	w.block = appendVisible(w.exchange.cut(blockSize), w.header)
	if cap(w.block) == blockSize { // it is in the room: what comes next begins where it ends
		w.exchange.used -= blockSize - len(w.block)
	}
	w.buf = w.exchange.cut(bufferSize)
	for _, line := range w.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			w.trailer = append(w.trailer, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
}

// appendVisible encodes the header without what is meant for the trailers.
func appendVisible(b []byte, h http.Header) []byte {
	at := len(b)
	b = binary.AppendUvarint(b, uint64(len(h)))
	hidden := 0
	for name, values := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			hidden++
			continue
		}
		b = wire.AppendField(b, name, values)
	}
	if hidden > 0 { // the count was wrong, and another may take more or less room
		fields := append([]byte(nil), b[at+uvarintLen(len(h)):]...)
		b = append(binary.AppendUvarint(b[:at], uint64(len(h)-hidden)), fields...)
	}
	return b
}

// uvarintLen is the room that a number takes.
func uvarintLen(n int) int {
	return len(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), uint64(n)))
}

func (w *response) Write(p []byte) (int, error) {
	if err := w.open(); err != nil {
		return 0, err
	}
	if len(p) > cap(w.buf)-len(w.buf) {
		return w.spill(p)
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func (w *response) WriteString(s string) (int, error) {
	if err := w.open(); err != nil {
		return 0, err
	}
	if len(s) > cap(w.buf)-len(w.buf) {
		return w.spill([]byte(s))
	}
	w.buf = append(w.buf, s...)
	return len(s), nil
}

// open makes the head final and says whether a body may follow.
func (w *response) open() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(w.status) {
		return http.ErrBodyNotAllowed
	}
	return w.err
}

// spill writes what the buffer has no room for. What is as large as the buffer is not copied into it.
func (w *response) spill(p []byte) (int, error) {
	done := 0
	if len(w.buf) > 0 && len(p) < 2*cap(w.buf) {
		done = copy(w.buf[len(w.buf):cap(w.buf)], p)
		w.buf = w.buf[:len(w.buf)+done]
		p = p[done:]
	}
	if err := w.drain(); err != nil {
		return done, err
	}
	if len(p) < cap(w.buf) {
		w.buf = append(w.buf, p...)
		return done + len(p), nil
	}
	if err := w.send(p); err != nil {
		return done, err
	}
	return done + len(p), nil
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func (w *response) Flush() { _ = w.FlushError() }

// FlushError sends what is there to the client.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if err := w.drain(); err != nil {
		return err
	}
	if err := w.sendHead(); err != nil {
		return err
	}
	if code := w.host.responseFlush(); code < 0 {
		return hostError("response", code)
	}
	return nil
}

// drain sends what is buffered, and with it the head.
func (w *response) drain() error {
	if len(w.buf) == 0 || w.err != nil {
		return w.err
	}
	err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

// send hands a piece of the body to the host, the first one together with the head.
func (w *response) send(p []byte) error {
	if w.err != nil {
		return w.err
	}
	var code int32
	if w.sent {
		code = w.host.responseWrite(p)
	} else {
		w.sent = true
		code = w.host.responseSend(w.status, w.block, p)
		w.complain(code)
	}
	if code < 0 {
		w.err = hostError("response", code)
	}
	return w.err
}

func (w *response) sendHead() error {
	if w.sent {
		return w.headErr
	}
	w.sent = true
	if code := w.host.responseHead(w.status, w.block); code < 0 {
		w.complain(code)
		w.headErr = hostError("response head", code)
		w.err = w.headErr
	}
	return w.headErr
}

// complain logs what the program did wrong: the host refused the head for what is in it.
func (w *response) complain(code int32) {
	if code == wire.ErrInvalid || code == wire.ErrState {
		logger.Printf("petrel: %v (status %d)", hostError("response head", code), w.status)
	}
}

// errOver is what a goroutine is told that goes on writing after the handler has returned: the instance may serve another
// request by then.
var errOver = errors.New("the handler has returned")

// close lets go of the room, which another exchange may have next.
func (w *response) close() {
	w.err, w.headErr, w.buf, w.block = errOver, errOver, nil, nil
	w.sent = true
	if w.status == 0 {
		w.status = http.StatusInternalServerError
	}
}

// finish sends what the handler left.
func (w *response) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	streamed := w.sent
	if w.drain() != nil || w.sendHead() != nil {
		return // the client has gone, or the host knows better than this end
	}
	// As in net/http, an answer whose length is known has no trailers that it did not announce.
	if len(w.header) == 0 || !streamed && len(w.trailer) == 0 {
		return
	}
	var trailer http.Header
	add := func(name string, values []string) {
		if trailer == nil {
			trailer = http.Header{}
		}
		trailer[name] = values
	}
	for _, name := range w.trailer {
		if values, ok := w.header[name]; ok {
			add(name, values)
		}
	}
	for name, values := range w.header {
		if after, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			add(after, values)
		}
	}
	if len(trailer) > 0 {
		w.host.responseTrailers(wire.AppendHeader(nil, trailer))
	}
}
