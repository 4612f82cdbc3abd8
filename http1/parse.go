package http1

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
)

const (
	// maxPlain is the size of a connection's buffer, and so of the largest plain request with its body, in bytes.
	maxPlain = 4 << 10
	// maxFields bounds the fields of a plain request's head.
	maxFields = 64
)

// verdict is what the bytes of a connection are.
type verdict int

const (
	unfinished verdict = iota // so far they could be plain
	plain
	other // they are net/http's
)

// head is what a plain request's head says.
type head struct {
	method, target, host string
	url                  url.URL
	fields               []field
	length               int // of the body
	size                 int // of the head itself
}

type field struct{ name, value string }

var (
	endOfHead = []byte("\r\n\r\n")
	version   = " HTTP/1.1"
)

// parse reads a head from the beginning of b.
func (h *head) parse(b []byte) verdict {
	end := bytes.Index(b, endOfHead)
	if end < 0 {
		if len(b) >= maxPlain || loneLineFeed(b) {
			return other
		}
		return unfinished
	}
	h.size = end + len(endOfHead)
	text := string(b[:end])
	line, rest, _ := strings.Cut(text, "\r\n")
	if !h.requestLine(line) || !h.readFields(rest) {
		return other
	}
	if h.size+h.length > len(b) { // the rest of the body may take any time
		return other
	}
	return plain
}

// loneLineFeed tells whether a line ends otherwise than the standard says. Whoever sends such lines may not send the end
// that parse waits for.
func loneLineFeed(b []byte) bool {
	for at := 0; ; {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return false
		}
		if at+n == 0 || b[at+n-1] != '\r' {
			return true
		}
		at += n + 1
	}
}

// requestLine reads the first line. Methods with their own rules are net/http's.
func (h *head) requestLine(line string) bool {
	rest, ok := strings.CutSuffix(line, version)
	if !ok {
		return false
	}
	h.method, h.target, ok = strings.Cut(rest, " ")
	switch h.method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		return false
	}
	return ok && isTarget(h.target) && h.locate()
}

// locate reads the target. What net/url refuses is refused by net/http, in its own words.
func (h *head) locate() bool {
	h.url = url.URL{}
	if simplePath(h.target, &h.url) {
		return true
	}
	parsed, err := url.ParseRequestURI(h.target)
	if err != nil {
		return false
	}
	h.url = *parsed
	return true
}

// isTarget says whether a request's target is a path, with or without a query, of bytes that mean themselves or are escaped.
func isTarget(s string) bool {
	if s == "" || s[0] != '/' || strings.HasPrefix(s, "//") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// readFields reads the fields. It returns false when one of them makes the request other than plain.
func (h *head) readFields(text string) bool {
	hosts, lengths := 0, 0
	h.fields, h.length, h.host = h.fields[:0], 0, ""
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !isToken(name) || !isValue(value) || len(h.fields) == maxFields {
			return false
		}
		name = http.CanonicalHeaderKey(name)
		switch name {
		case "Host":
			hosts++
			h.host = value
			continue // as in net/http, it is a field of the request and no header
		case "Content-Length":
			lengths++
			if h.length, ok = number(value); !ok {
				return false
			}
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return false
			}
		case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Pragma", "Http2-Settings":
			return false
		}
		h.fields = append(h.fields, field{name, value})
	}
	return hosts == 1 && lengths <= 1 && isHost(h.host)
}

// tokens are the bytes that the name of a field is made of.
var tokens = func() (set [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		set[c] = true
	}
	return set
}()

func isToken(s string) bool {
	for i := range len(s) {
		if !tokens[s[i]] {
			return false
		}
	}
	return s != ""
}

// isValue says whether a field's value has no control characters but tabs.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isHost says whether a Host is made of what names, addresses and ports are made of.
func isHost(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == ':', c == '_', c == '[', c == ']':
		default:
			return false
		}
	}
	return s != ""
}

// number reads a length that fits a plain request.
func number(s string) (int, bool) {
	if s == "" || len(s) > 4 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, n <= maxPlain
}

// fill makes the request that net/http would make of the head.
func (h *head) fill(r *http.Request, u *url.URL) {
	*u = h.url
	r.Method, r.URL, r.RequestURI, r.Host = h.method, u, h.target, h.host
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.ContentLength = int64(h.length)
	r.Header = make(http.Header, len(h.fields))
	values := make([]string, len(h.fields))
	for i, f := range h.fields {
		if had := r.Header[f.name]; had != nil {
			r.Header[f.name] = append(had, f.value)
			continue
		}
		values[i] = f.value
		r.Header[f.name] = values[i : i+1 : i+1]
	}
}

// simplePath fills in a target of which nothing has to be decoded.
func simplePath(target string, u *url.URL) bool {
	for i := range len(target) {
		switch c := target[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '/', c == '.', c == '-', c == '_', c == '~':
		default:
			return false
		}
	}
	u.Path = target
	return true
}
