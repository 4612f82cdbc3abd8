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

var logger = log.New(os.Stderr, "", log.LstdFlags)

// serve answers the request that the host holds ready.
func serve(h host, handler http.Handler) {
	if handler == nil {
		logger.Print("petrel: no handler: call guest.Handle from an init function")
		h.responseAbort(wire.AbortPanic)
		return
	}
	x := take()
	r, err := x.read(h)
	if err != nil {
		logger.Printf("petrel: read request: %v", err)
		h.responseAbort(wire.AbortPanic)
		return
	}
	defer x.end(h)
	w := x.answer(h)
	handler.ServeHTTP(w, r)
	w.finish()
}

// end is deferred around the handler.
func (x *exchange) end(h host) {
	if v := recover(); v != nil {
		recovered(h, logger, &x.request, v)
	}
	x.context.end()
	x.body.closed = true
	x.response.close()
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
