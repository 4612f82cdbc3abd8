// Package client lets guests make HTTP requests, as far as their pod is granted: it is the host's side of the import
// module petrel_http_client_v1. Package wire has the encoding of heads and the numbers; the SDK in wasmrt/guest makes an
// http.RoundTripper of it.
//
//	request_open(head, len) → handle     begins a request; the connection is made in the background
//	request_write(handle, buf, len) → n  takes as much of the body as there is room for
//	request_end(handle, trailers, len)   ends the body; trailers is a header block or nothing
//	response_head(handle, buf, len) → n  the head; n is its length, and nothing is written when len is less
//	response_read(handle, buf, len) → n  the body; 0 is its end
//	response_trailers(handle, buf, len)  like response_head, after the body's end
//	error_text(handle, buf, len) → n     why a call on this handle failed (handle −1: why request_open did)
//	close(handle)                        forgets the exchange, and cancels what is under way of it
//	wait(milliseconds) → 1 | 0           until something has changed for any exchange of this instance, or the time is over
//
// No function but wait waits: what would is answered with ErrAgain, so that a guest with one thread can have several
// exchanges under way. Handles count from 0.
//
// A Client belongs to a pod and keeps its connections for the next request; a Session belongs to one call into a guest,
// bounds the exchanges that are open (MaxOpen), and ends them all when that call is over. Each connection is checked by
// the policy, by name before and by address after the name is resolved; a redirect is a new request of the guest's and is
// checked like the first. Proxies of the host's environment are never used; bodies are handed on as they are, compressed
// or not.
//
// It may import wasmrt/engine, wasmrt/httpabi/wire, and wazero's api (the type of a host function).
package client
