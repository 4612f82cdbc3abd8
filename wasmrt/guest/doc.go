// Package guest is the SDK for HTTP guests written in Go: an ordinary net/http handler, served by Petrel.
//
//	package main
//
//	import (
//		"fmt"
//		"net/http"
//
//		"github.com/petrelrun/petrel/wasmrt/guest"
//	)
//
//	func init() {
//		guest.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
//			fmt.Fprintln(w, "hello")
//		}))
//	}
//
//	func main() {}
//
// Build it as a reactor, whose main is never called:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o app.wasm .
//
// # What differs from a server
//
// Each request has an instance of the program of its own: package variables are initialised before it, nothing of it is
// there for the next one, and goroutines still running when the handler returns are gone. The handler may start
// goroutines and wait for them; the program has one thread.
//
// The program is not started anew for that. It is started once, up to the end of its init functions; the state it is in
// then is what every request begins with (isolation "reset", the default). So what init computes costs a request nothing:
// parse templates, compile patterns and build tables there. What init reads of the world (the time, a random number) is
// the same for all requests; math/rand and the seeds of maps are renewed for each. A pod can choose otherwise: "fresh"
// starts the program for each request, "shared" keeps package variables from one request to the next of the same
// instance, of which there are several.
//
// WarmUp registers functions that run once more before that state is kept, after this package has run its own code to
// have it warm. A request that makes the program's memory grow, or traps, costs the next one a new instance: some 200 µs.
//
// Goroutines that init starts are part of the state too: they go on in each request, from where they stood.
//
// Bodies stream both ways. The request's context ends when the handler returns, and when the client has gone or the
// request's time is over; the latter is looked for while somebody waits for Done, and whenever Err is called.
//
// A panic of the handler is logged on standard error with its stack. If nothing of the response has been sent, the client
// gets 500, otherwise the connection is cut; http.ErrAbortHandler cuts it silently. The response is sent when 4096 bytes
// of it are there, when the handler calls Flush, and when it returns. A handler may go on reading the request after
// that: full duplex is always on. Hijacking and deadlines (http.ResponseController) are not supported.
//
// Transport makes outgoing HTTP requests, as far as the pod is granted; package defaultclient puts it under
// http.DefaultTransport. Plain connections are package network's.
//
// On other platforms than wasip1 Handle only remembers the handler, so that a program and its tests build natively.
//
// It imports the standard library and wasmrt/httpabi/wire, which imports the standard library.
package guest
