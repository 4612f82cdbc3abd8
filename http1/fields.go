package http1

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// fields are the part of a head that is the handler's, as they are sent.
type fields struct {
	text     *[]byte // the status line and the fields; of buffers
	trailers []string
	streamed bool // the body is sent in chunks even if its length is known when the handler returns
	untyped  bool // the handler says nothing of the body's type
	undated  bool
	closes   bool // the connection ends with this answer
}

// begin starts a head.
func (f *fields) begin(status int) []byte {
	f.text = takeBuffer()
	f.untyped, f.undated = true, status >= 200
	return appendStatus(*f.text, status)
}

// drop forgets what was begun.
func (f *fields) drop() {
	giveBuffer(f.text)
	*f = fields{}
}

// take writes down a handler's header. Fields that are the server's business are left out.
func (f *fields) take(h http.Header, status int) {
	b := f.begin(status)
	f.announce(h["Trailer"])
	var room [16]string
	names := room[:0]
	for name, values := range h {
		if f.wanted(name, values, status) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range h[name] {
			b = appendField(b, name, value)
		}
	}
	*f.text = b
}

// wanted says whether a field is sent, and notes what its presence means.
func (f *fields) wanted(name string, values []string, status int) bool {
	switch name {
	case "Content-Type":
		f.untyped = false
		return status != http.StatusNotModified
	case "Content-Encoding":
		f.untyped = false
	case "Content-Length":
		return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
	case "Date":
		f.undated = false
	case "Connection":
		f.closes = slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(strings.TrimSpace(v), "close") })
	case "Transfer-Encoding":
		f.streamed, f.untyped = true, false
		return false
	}
	if strings.HasPrefix(name, http.TrailerPrefix) {
		f.streamed = true
		return false
	}
	return isToken(name) && !slices.Contains(f.trailers, name)
}

// announce notes the trailers that the head tells of.
func (f *fields) announce(lines []string) {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			switch name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name {
			case "", "Transfer-Encoding", "Content-Length", "Trailer":
			default:
				f.trailers = append(f.trailers, name)
				f.streamed = true
			}
		}
	}
}

// appendTrailers ends a chunked body with the trailers that were announced and those marked by their names, so far as they
// are set by now.
func (f *fields) appendTrailers(b []byte, h http.Header) []byte {
	b = append(b, "0\r\n"...)
	for name, values := range h {
		bare, marked := strings.CutPrefix(name, http.TrailerPrefix)
		if !isToken(bare) || !marked && !slices.Contains(f.trailers, name) {
			continue
		}
		for _, v := range values {
			b = appendField(b, bare, v)
		}
	}
	return append(b, "\r\n"...)
}

// appendField writes one field. Line ends in its value become spaces, so that nobody's value is taken for a field.
func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	at := len(b)
	b = append(b, strings.Trim(value, " \t\r\n")...)
	for i := at; i < len(b); i++ {
		if b[i] == '\r' || b[i] == '\n' {
			b[i] = ' '
		}
	}
	return append(b, "\r\n"...)
}

func appendStatus(b []byte, status int) []byte {
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = strconv.AppendInt(append(b, "status code "...), int64(status), 10)
	}
	return append(b, "\r\n"...)
}

// clock is the Date of one second.
type clock struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[clock]

// date is the present time as heads have it, made once a second.
func date() string {
	now := time.Now()
	if c := lastDate.Load(); c != nil && c.second == now.Unix() {
		return c.text
	}
	c := &clock{now.Unix(), now.UTC().Format(http.TimeFormat)}
	lastDate.Store(c)
	return c.text
}
