package wire

import (
	"encoding/binary"
	"errors"
	"net/http"
)

const flagTLS = 1

// maxContentLength bounds what is believed of a length, so that adding one to it never overflows.
const maxContentLength = 1 << 62

// RequestHead is what a guest gets before the body.
type RequestHead struct {
	Method, URI, Proto, Host, RemoteAddr string
	TLS                                  bool
	ContentLength                        int64 // -1 when it is not known
	Header                               http.Header
	Trailer                              []string // names announced

	values []string // what Header's values are cut from
}

// Reserve makes room for a header of so many fields with one value each, so that Decode need not.
func (h *RequestHead) Reserve(fields int) {
	h.Header = MakeHeader(fields)
	h.values = make([]string, 0, fields)
}

// MakeHeader makes an empty header with room for so many fields.
func MakeHeader(fields int) http.Header {
	h := make(http.Header, fields)
	h[""] = nil // a small map has no room before the first entry
	delete(h, "")
	return h
}

// AppendRequestHead encodes a head.
func AppendRequestHead(b []byte, h *RequestHead) []byte {
	b = appendString(b, h.Method)
	b = appendString(b, h.URI)
	b = appendString(b, h.Proto)
	b = appendString(b, h.Host)
	b = appendString(b, h.RemoteAddr)
	var flags byte
	if h.TLS {
		flags |= flagTLS
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(max(h.ContentLength, -1)+1))
	b = AppendHeader(b, h.Header)
	b = binary.AppendUvarint(b, uint64(len(h.Trailer)))
	for _, name := range h.Trailer {
		b = appendString(b, name)
	}
	return b
}

// DecodeRequestHead decodes a head, which must use up the block. Its strings are cut from the block.
func DecodeRequestHead(block string) (*RequestHead, error) {
	h := &RequestHead{}
	err := h.Decode(block)
	return h, err
}

// Decode sets the head to what a block says, which must be used up. The strings are cut from the block; a header that
// was reserved is filled.
func (h *RequestHead) Decode(block string) error {
	d := decoder{s: block}
	h.Method = d.string()
	h.URI = d.string()
	h.Proto = d.string()
	h.Host = d.string()
	h.RemoteAddr = d.string()
	h.TLS = d.number()&flagTLS != 0
	length := d.number()
	if length > maxContentLength {
		d.fail(errors.New("the content length is absurd"))
	}
	h.ContentLength = int64(length) - 1
	h.Header, h.values = d.header(h.Header, h.values)
	h.Trailer = h.Trailer[:0]
	for range d.count("trailers") {
		h.Trailer = append(h.Trailer, d.string())
	}
	return d.end()
}
