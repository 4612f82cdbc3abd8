package http1

import (
	"io"
	"net/http"
)

// smallBody is a request's body that was read with its head.
type smallBody struct {
	rest   []byte
	closed bool
}

// Read implements io.Reader.
func (b *smallBody) Read(p []byte) (int, error) {
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	if len(b.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (b *smallBody) Close() error {
	b.closed, b.rest = true, nil
	return nil
}
