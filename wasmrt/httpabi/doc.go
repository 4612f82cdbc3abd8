// Package httpabi serves HTTP with guests: a Handler is an http.Handler that answers each request with a guest, whichever
// way of serving its module has (module.Detect).
//
// Petrel's own ABI is this package's: the guest exports petrel_http_v1_handle and, while that runs, asks the host for the
// request (its head, chunks of the body, trailers) and gives it the response (head, chunks of the body, flushes,
// trailers) through the functions of the import module petrel_http_v1. Both bodies stream. Package wire has the encoding
// and the numbers of the ABI; the SDK in wasmrt/guest makes a net/http handler of it. http-wasm guests and WAGI programs
// are protocols (protocol.go), in packages httpwasm and wagi: the Handler's queue, limits, times and problems are around
// them as around a reactor. A server on sockets of its own needs no Handler.
//
// Each request has an instance of its own, from an engine.Pool, isolated as Config.Isolation says. A guest that imports
// petrel_http_client_v1 can make requests itself, as far as its Spec's egress policy lets it (package client).
//
// Before the snapshot that requests begin with, a guest that exports petrel_http_v1_warmup is asked to warm itself up
// (warmup.go): its heap grows to a working size and is collected, so that ordinary requests neither grow the memory nor
// collect garbage.
//
// A request costs no timer, goroutine or channel unless its guest waits for the world: its context (context.go) answers
// from the clock whether it has ended, which the engine asks after each host call and each slice of fuel. The first time
// that a guest may stand in a read or a write of the connection, the end of its time is armed to end that too.
//
// What goes wrong is told as RFC 9457 problem+json with a code that programs can rely on (problem.go) as long as the
// response has not begun; after that the connection is cut, so that no client takes half an answer for a whole one.
//
// It may import wasmrt/engine, wasmrt/module, the packages below it, and wazero's api (the type of a host function).
package httpabi
