// Package httpabi serves HTTP with guests: a Handler is an http.Handler that answers each request with an instance of a
// reactor module.
//
// The guest exports petrel_http_v1_handle and, while that runs, asks the host for the request (its head, chunks of the
// body, trailers) and gives it the response (head, chunks of the body, flushes, trailers) through the functions of the
// import module petrel_http_v1. Both bodies stream. Package wire has the encoding and the numbers of the ABI; the SDK in
// wasmrt/guest makes a net/http handler of it.
//
// Each request has an instance of its own: made, initialised, used once, closed. Where instances come from is the small
// interface instances, so that snapshots can come in its place.
//
// What goes wrong is told as RFC 9457 problem+json with a code that programs can rely on (problem.go) as long as the
// response has not begun; after that the connection is cut, so that no client takes half an answer for a whole one.
//
// It may import wasmrt/engine, wasmrt/module, wasmrt/httpabi/wire, and wazero's api (the type of a host function).
package httpabi
