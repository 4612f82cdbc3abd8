// Package wire is how the host and a guest hand each other the heads of HTTP messages: as few bytes and as little code
// as a guest in C or Go can read.
//
// A number is an unsigned LEB128 (a varint of encoding/binary), a string is its length and its bytes. A header block is
// the number of fields, and for each its name, the number of its values and the values. A field without values is kept:
// net/http gives it a meaning ("do not set this one yourself").
//
//	request head:  method, URI, protocol, host, remote address, flags (1: TLS), content length + 1 (0: unknown),
//	               header block, number of announced trailers, their names
//	response head: header block (the status is a parameter of the call)
//	trailers:      header block
//
// The functions of the import module, with parameters and results of 32 bits. Buffers are a pointer and a length; results
// are counts or negative numbers (wire.go):
//
//	request_head(buf, size)           the head's length; it is in the buffer if that has room for it
//	request_body_read(buf, size)      how much was read; 0 at the end
//	request_trailers(buf, size)       as request_head, after the end of the body
//	request_cancelled()               1 when the client has gone or the request's time is over
//	response_head(status, head, size) informational ones may come before the final one
//	response_write(buf, size)         a piece of the body, whole or not at all
//	response_send(status, head, size, buf, size)
//	                                  response_head and then response_write, in one call; status is 200 or more
//	response_flush()                  sends what is there
//	response_trailers(head, size)     what follows the body
//	response_abort(kind)              ends the response without an end; no result
//
// It may import the standard library only: guests import it.
package wire
