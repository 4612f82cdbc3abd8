package guest

import (
	"bufio"
	"fmt"
	"log"
	"net/http"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// bufferSize is how much of a response waits for more, to spare calls of the host.
const bufferSize = 4096

// response implements http.ResponseWriter.
type response struct {
	host   host
	req    *http.Request
	log    *log.Logger
	header http.Header

	status  int    // zero until WriteHeader
	block   []byte // the encoded head, until it is sent
	sent    bool
	headErr error
	buf     *bufio.Writer
	trailer []string // names that the head announced
}

var (
	_ http.ResponseWriter             = (*response)(nil)
	_ http.Flusher                    = (*response)(nil)
	_ interface{ FlushError() error } = (*response)(nil) // what http.ResponseController looks for
)

func newResponse(h host, r *http.Request, logger *log.Logger) *response {
	w := &response{host: h, req: r, log: logger, header: http.Header{}}
	w.buf = bufio.NewWriterSize(chunks{w}, bufferSize)
	return w
}

func (w *response) Header() http.Header { return w.header }

// WriteHeader fixes the head as it is now; it is sent with the first of the body.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	if w.status != 0 {
		w.log.Printf("http: superfluous response.WriteHeader call (status %d after %d)", status, w.status)
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.host.responseHead(status, wire.AppendHeader(nil, w.header))
		return
	}
	w.status = status
	w.block = wire.AppendHeader(nil, w.visible())
	for _, line := range w.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			w.trailer = append(w.trailer, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
}

// visible is the header without what is meant for the trailers.
func (w *response) visible() http.Header {
	visible := make(http.Header, len(w.header))
	for name, values := range w.header {
		if !strings.HasPrefix(name, http.TrailerPrefix) {
			visible[name] = values
		}
	}
	return visible
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	return w.buf.Write(p)
}

func (w *response) WriteString(s string) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	return w.buf.WriteString(s)
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
	if err := w.buf.Flush(); err != nil {
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

func (w *response) sendHead() error {
	if w.sent {
		return w.headErr
	}
	w.sent = true
	if code := w.host.responseHead(w.status, w.block); code < 0 {
		w.headErr = hostError("response head", code)
		w.log.Printf("petrel: %v (status %d)", w.headErr, w.status)
	}
	w.block = nil
	return w.headErr
}

// finish sends what the handler left.
func (w *response) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.buf.Flush() != nil || w.sendHead() != nil {
		return // the client has gone, or the host knows better than this end
	}
	trailer := http.Header{}
	for _, name := range w.trailer {
		if values, ok := w.header[name]; ok {
			trailer[name] = values
		}
	}
	for name, values := range w.header {
		if after, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			trailer[after] = values
		}
	}
	if len(trailer) > 0 {
		w.host.responseTrailers(wire.AppendHeader(nil, trailer))
	}
}

// chunks is the end of the buffer: it hands pieces to the host.
type chunks struct{ w *response }

func (c chunks) Write(p []byte) (int, error) {
	if err := c.w.sendHead(); err != nil {
		return 0, err
	}
	if code := c.w.host.responseWrite(p); code < 0 {
		return 0, hostError("response", code)
	}
	return len(p), nil
}
