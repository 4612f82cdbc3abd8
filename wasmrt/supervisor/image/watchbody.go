package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	// stallTime is how long a registry has for the next minRead bytes.
	stallTime = 30 * time.Second
	// minRead bytes in stallTime are what the slowest line still does; less is a registry that holds a pull.
	minRead = 8 << 10
)

// errStalled says that a registry stopped sending, or sent too slowly.
var errStalled = errors.New("the registry sends too slowly")

// watchedBody ends the request that it is the body of when it does not come on.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	read   atomic.Int64 // since the timer was set
	timer  *time.Timer
}

func watch(body io.ReadCloser, every time.Duration, ctx context.Context, cancel context.CancelCauseFunc) io.ReadCloser {
	w := &watchedBody{ReadCloser: body, ctx: ctx, cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, func() {
		if w.read.Swap(0) < minRead {
			cancel(fmt.Errorf("%w: less than %d bytes in %s", errStalled, minRead, every))
			return
		}
		w.timer.Reset(every)
	})
	w.timer.Reset(every) // not before the function can see the timer
	return w
}

// Read implements io.Reader.
func (w *watchedBody) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.read.Add(int64(n))
	if cause := context.Cause(w.ctx); err != nil && err != io.EOF && cause != nil {
		err = cause
	}
	return n, err
}

// Close implements io.Closer.
func (w *watchedBody) Close() error {
	w.timer.Stop()
	w.cancel(nil)
	return w.ReadCloser.Close()
}
