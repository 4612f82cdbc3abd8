package guest

import (
	"errors"
	"log"
	"net/http"
	"os"
	"runtime"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// stackSize bounds the stack that is logged of a panic, as net/http does.
const stackSize = 64 << 10

// serve answers the request that the host holds ready.
func serve(h host, handler http.Handler) {
	logger := log.New(os.Stderr, "", log.LstdFlags)
	if handler == nil {
		logger.Print("petrel: no handler: call guest.Handle from an init function")
		h.responseAbort(wire.AbortPanic)
		return
	}
	r, end, err := newRequest(h)
	if err != nil {
		logger.Printf("petrel: read request: %v", err)
		h.responseAbort(wire.AbortPanic)
		return
	}
	defer end()
	w := newResponse(h, r, logger)
	defer func() {
		if v := recover(); v != nil {
			recovered(h, logger, r, v)
		}
	}()
	handler.ServeHTTP(w, r)
	w.finish()
}

// recovered ends a response whose handler panicked. What is buffered is not sent: it may be half an answer.
func recovered(h host, logger *log.Logger, r *http.Request, v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		h.responseAbort(wire.AbortSilent)
		return
	}
	stack := make([]byte, stackSize)
	stack = stack[:runtime.Stack(stack, false)]
	logger.Printf("http: panic serving %s: %v\n%s", r.RemoteAddr, v, stack)
	h.responseAbort(wire.AbortPanic)
}
