package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// The names of the ABI: the module that a guest imports from and the function that it exports.
const (
	Module       = "petrel_http_v1"
	HandleExport = "petrel_http_v1_handle"
)

// What the host's functions return instead of a count. They are part of the ABI.
const (
	ErrCancelled  = -1 // the client has gone, or the request's time is over
	ErrTooLarge   = -2 // the request's or the response's limit is exceeded
	ErrIO         = -3 // the connection broke
	ErrState      = -4 // not now: the head was sent already, or was not yet
	ErrInvalid    = -5 // a pointer, a status or a header block that makes no sense
	ErrLength     = -6 // more body than the Content-Length said
	ErrNotAllowed = -7 // this status or method has no body
)

// What response_abort is told.
const (
	AbortPanic  = 0 // the handler panicked: 500, if nothing has been sent
	AbortSilent = 1 // the handler wants the connection cut (http.ErrAbortHandler)
)

// MaxFields bounds the fields of a header block, and the values of a field.
const MaxFields = 10_000

// MaxHead bounds an encoded head, in bytes.
const MaxHead = 1 << 20

var errShort = errors.New("the head ends too early")

const flagTLS = 1

// RequestHead is what a guest gets before the body.
type RequestHead struct {
	Method, URI, Proto, Host, RemoteAddr string
	TLS                                  bool
	ContentLength                        int64 // -1 when it is not known
	Header                               http.Header
	Trailer                              []string // names announced
}

// AppendRequestHead encodes a head.
func AppendRequestHead(b []byte, h *RequestHead) []byte {
	for _, s := range []string{h.Method, h.URI, h.Proto, h.Host, h.RemoteAddr} {
		b = appendString(b, s)
	}
	var flags uint64
	if h.TLS {
		flags |= flagTLS
	}
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, uint64(max(h.ContentLength, -1)+1))
	b = AppendHeader(b, h.Header)
	b = binary.AppendUvarint(b, uint64(len(h.Trailer)))
	for _, name := range h.Trailer {
		b = appendString(b, name)
	}
	return b
}

// DecodeRequestHead decodes a head, which must use up all bytes.
func DecodeRequestHead(b []byte) (*RequestHead, error) {
	d := decoder{b: b}
	h := &RequestHead{}
	for _, s := range []*string{&h.Method, &h.URI, &h.Proto, &h.Host, &h.RemoteAddr} {
		*s = d.string()
	}
	h.TLS = d.number()&flagTLS != 0
	length := d.number()
	if length > 1<<62 {
		d.fail(errors.New("the content length is absurd"))
	}
	h.ContentLength = int64(length) - 1
	h.Header = d.header()
	for range d.count("trailers") {
		h.Trailer = append(h.Trailer, d.string())
	}
	return h, d.end()
}

// AppendHeader encodes a header block, sorted by name.
func AppendHeader(b []byte, h http.Header) []byte {
	b = binary.AppendUvarint(b, uint64(len(h)))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		b = appendString(b, name)
		b = binary.AppendUvarint(b, uint64(len(h[name])))
		for _, value := range h[name] {
			b = appendString(b, value)
		}
	}
	return b
}

// DecodeHeader decodes a header block, which must use up all bytes. Names are kept as they are.
func DecodeHeader(b []byte) (http.Header, error) {
	d := decoder{b: b}
	h := d.header()
	return h, d.end()
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads forward and remembers the first error; after it everything is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.fail(errShort)
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) count(what string) uint64 {
	n := d.number()
	if n > MaxFields {
		d.fail(fmt.Errorf("%d %s, the limit is %d", n, what, MaxFields))
		return 0
	}
	if n > uint64(len(d.b)) { // each takes at least a byte
		d.fail(errShort)
		return 0
	}
	return n
}

func (d *decoder) header() http.Header {
	fields := d.count("fields")
	h := make(http.Header, min(fields, 64))
	for range fields {
		name := d.string()
		var values []string
		for range d.count("values") {
			values = append(values, d.string())
		}
		if d.err != nil {
			return nil
		}
		h[name] = append(h[name], values...)
	}
	return h
}

func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%d bytes follow the head", len(d.b))
	}
	if d.err != nil {
		return fmt.Errorf("decode head: %w", d.err)
	}
	return nil
}
