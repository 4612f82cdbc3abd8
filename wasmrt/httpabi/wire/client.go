package wire

import (
	"encoding/binary"
	"errors"
	"net/http"
)

// ClientModule is the import module of outgoing requests. A request's head is a RequestHead whose URI is an absolute URL
// and whose Host may be empty; a response's head is a ResponseHead.
const ClientModule = "petrel_http_client_v1"

// What the functions of ClientModule return beside the numbers above. They are part of the ABI.
const (
	ErrAgain  = -8  // nothing yet, or no room yet: wait and ask again
	ErrDenied = -9  // the pod is not granted that connection
	ErrHandle = -10 // there is no such exchange
	ErrLimit  = -11 // too many exchanges are open
)

// ResponseHead is what a guest gets of the response to a request of its own before the body:
//
//	status, protocol, content length + 1 (0: unknown), header block, number of announced trailers, their names
type ResponseHead struct {
	Status        int
	Proto         string
	ContentLength int64 // -1 when it is not known
	Header        http.Header
	Trailer       []string // names announced
}

// AppendResponseHead encodes a head.
func AppendResponseHead(b []byte, h *ResponseHead) []byte {
	b = binary.AppendUvarint(b, uint64(max(h.Status, 0)))
	b = appendString(b, h.Proto)
	b = binary.AppendUvarint(b, uint64(max(h.ContentLength, -1)+1))
	b = AppendHeader(b, h.Header)
	b = binary.AppendUvarint(b, uint64(len(h.Trailer)))
	for _, name := range h.Trailer {
		b = appendString(b, name)
	}
	return b
}

// DecodeResponseHead decodes a head, which must use up the block. Its strings are cut from the block.
func DecodeResponseHead(block string) (*ResponseHead, error) {
	d := decoder{s: block}
	h := &ResponseHead{}
	status := d.number()
	if status > 999 {
		d.fail(errors.New("the status is absurd"))
	}
	h.Status, h.Proto = int(status), d.string()
	length := d.number()
	if length > maxContentLength {
		d.fail(errors.New("the content length is absurd"))
	}
	h.ContentLength = int64(length) - 1
	h.Header, _ = d.header(nil, nil)
	for range d.count("trailers") {
		h.Trailer = append(h.Trailer, d.string())
	}
	return h, d.end()
}
