package wagi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// input is a program's standard input. The engine may leave a read behind when it kills a guest, so after close the
// request's body is not touched any more.
type input struct {
	mu     sync.Mutex
	r      io.Reader
	closed bool
}

func (i *input) Read(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return 0, errEnded
	}
	return i.r.Read(p)
}

func (i *input) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
}

// body finds the request's body and its length. A body whose length nobody has said is read first.
func body(r *http.Request, limit int64) (io.Reader, int64, error) {
	if r.Body == nil || r.ContentLength == 0 {
		return http.NoBody, 0, nil
	}
	if r.ContentLength > 0 {
		return r.Body, r.ContentLength, nil
	}
	var kept bytes.Buffer
	n, err := kept.ReadFrom(io.LimitReader(r.Body, limit+1))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), n > limit:
		return nil, 0, &LengthError{Limit: limit}
	case err != nil:
		return nil, 0, fmt.Errorf("read request body: %w", err)
	}
	return &kept, n, nil
}
