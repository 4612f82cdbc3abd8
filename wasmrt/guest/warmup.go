package guest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

const (
	// warmRounds is how many exchanges are served before the collection, and again after it.
	warmRounds = 8
	// stackRoom is how deep the stack is made. It is grown by copying, which is slow.
	stackRoom = 24 << 10
	// largestClass is the size from which on the allocator gives each object pages of its own.
	largestClass = 32 << 10
)

// warmUps is what WarmUp was given.
var warmUps []func()

// WarmUp registers a function that is called once, after all init functions and before the snapshot that each request
// begins with: to fill caches, parse templates, build tables. It must not keep anything open. Call it from an init
// function. A panic of the function is a failure of the program's start.
//
// It is not called where there is no snapshot: natively, and when the pod's memory limit is too small for it. So what
// the program cannot do without belongs into init.
func WarmUp(f func()) {
	if f == nil {
		panic("guest: WarmUp was called with nil")
	}
	warmUps = append(warmUps, f)
}

// warmUp runs what the requests will run, and leaves the heap small, clean, and with its parts at hand. Small, because what a
// reset costs goes with the size of the memory; a request that needs more grows it, and the reset takes that back.
func warmUp() {
	for _, f := range warmUps {
		f()
	}
	quiet := logger.Writer()
	logger.SetOutput(io.Discard)
	rehearse()
	runtime.GC()
	runtime.GC() // the first one's garbage is swept, and what finalizers freed
	_ = deep(stackRoom / stackStep)
	rehearse()
	touchClasses()
	logger.SetOutput(quiet)
	spare = newSpare()
}

// rehearse serves exchanges of each kind with a handler of its own.
func rehearse() {
	for range warmRounds {
		for _, head := range []wire.RequestHead{
			{Method: "GET", URI: "/", Proto: "HTTP/1.1", Host: "localhost", Header: http.Header{"Accept": {"*/*"}}},
			{Method: "POST", URI: "/a%20b?c=d", Proto: "HTTP/1.1", Host: "localhost", RemoteAddr: "127.0.0.1:1", ContentLength: -1,
				Header: http.Header{"Content-Type": {"text/plain"}, "Cookie": {"a=b", "c=d"}}, Trailer: []string{"X-Sum"}},
		} {
			spare = newSpare()
			serve(&rehearsal{head: wire.AppendRequestHead(nil, &head), body: 3 * bufferSize}, http.HandlerFunc(rehearsed))
		}
	}
}

// rehearsed does what most handlers do, so that what the standard library makes when it is first needed is there.
func rehearsed(w http.ResponseWriter, r *http.Request) {
	_ = os.Getenv("PATH")
	_ = time.Now().Local().String()
	if r.Method == http.MethodPost {
		_, _ = io.Copy(io.Discard, r.Body) // a rehearsal has no errors
		w.Header().Set("Trailer", "X-Sum")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, "%s %d\n", r.URL.Path, len(r.Header))
	_, _ = io.WriteString(w, strings.Repeat("petrel ", bufferSize/4))
	w.(http.Flusher).Flush()
	w.Header().Set("X-Sum", r.URL.Query().Get("c"))
	_ = r.Context().Err()
}

// rehearsal is a host for the warm-up: it asks and throws the answer away.
type rehearsal struct {
	head []byte
	body int
}

func (h *rehearsal) requestHead(buf []byte) int32 {
	if len(h.head) <= len(buf) {
		copy(buf, h.head)
	}
	return int32(len(h.head))
}

func (h *rehearsal) requestBodyRead(p []byte) int32 {
	n := min(h.body, len(p))
	h.body -= n
	return int32(n)
}

func (h *rehearsal) requestTrailers(buf []byte) int32             { return int32(copy(buf, "\x00")) }
func (h *rehearsal) requestCancelled() bool                       { return false }
func (h *rehearsal) responseHead(int, []byte) int32               { return 0 }
func (h *rehearsal) responseSend(_ int, _ []byte, _ []byte) int32 { return 0 }
func (h *rehearsal) responseWrite([]byte) int32                   { return 0 }
func (h *rehearsal) responseFlush() int32                         { return 0 }
func (h *rehearsal) responseTrailers([]byte) int32                { return 0 }
func (h *rehearsal) responseAbort(int32)                          {}

// touched keeps what touchClasses makes from being optimised away.
var touched struct {
	bytes    []byte
	pointers []*byte
}

// touchClasses allocates an object of each size, so that the allocator has a page of each at hand again, which the
// collection took from it.
func touchClasses() {
	for size := 8; size <= largestClass; size += max(8, size/8&^7) {
		touched.bytes = make([]byte, size)
		touched.pointers = make([]*byte, size/8)
	}
	touched.bytes, touched.pointers = nil, nil
}

const stackStep = 1 << 10

// deep uses so many steps of stack.
//
//go:noinline
func deep(steps int) byte {
	var room [stackStep]byte
	if steps > 0 {
		room[steps%stackStep] = deep(steps-1) + 1
	}
	return room[steps%stackStep]
}
