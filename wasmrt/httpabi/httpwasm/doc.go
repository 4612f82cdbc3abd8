// Package httpwasm serves HTTP with guests of http-wasm's handler ABI, version 0.1 (https://http-wasm.io).
//
// That ABI is made for middleware: the guest's handle_request either answers the request, or asks for the next handler
// and sees its response in handle_response. A Petrel app is the last of the chain. When its guest asks for a next handler
// and Config.Next is nil, what it has set so far (a status, a body) is the answer; when it has set neither, NotFound
// answers. Then handle_response is called as after any other handler.
//
// Bodies stream: read_body reads the connection, write_body writes to it, and the response's head is sent with the first
// of its body or at the end, so that a header may be set after the status. What the guest asks the host to keep
// (features buffer_request and buffer_response) is kept up to Config.MaxBuffer.
//
// Each request has an instance from an engine.Pool, isolated as the pool's isolation says. A guest is initialised by
// _initialize or, as the ABI's guests are built as commands, by _start. The features that it enables then hold for all
// requests; because clones of a snapshot do not run that again, a server asks an instance of its own for them, once.
//
// A call that the ABI forbids (a status after the next handler, a header's kind that does not exist) ends the guest as a
// trap does. The panics in this package are that: the engine recovers a host function's panic and ends the guest with it.
//
// It may import wasmrt/engine, wasmrt/module, and wazero's api (the type of a host function).
package httpwasm
