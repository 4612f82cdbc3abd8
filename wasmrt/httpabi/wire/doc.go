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
// It may import the standard library only: guests import it.
package wire
