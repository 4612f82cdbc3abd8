package service

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// own reports whether a header is about one connection, or is the gateway's to set.
func own(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	default:
		return false
	}
}

// forwarded reports whether a header tells of the client, which the gateway does itself.
func forwarded(name string) bool {
	switch name {
	case "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded":
		return true
	default:
		return false
	}
}

// named reports whether the Connection header makes the header one of the connection.
func named(connection []string, name string) bool {
	for _, list := range connection {
		for field := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(field), name) {
				return true
			}
		}
	}
	return false
}

// writeRequest writes the request as the endpoint is to see it: as the client sent it, but for what concerns the
// connection, and with the client's address and what it asked for.
func writeRequest(out *bufio.Writer, r *http.Request, body []byte) {
	field := func(name, value string) {
		_, _ = out.WriteString(name)
		_, _ = out.WriteString(": ")
		_, _ = out.WriteString(value)
		_, _ = out.WriteString("\r\n")
	}
	_, _ = out.WriteString(r.Method)
	_ = out.WriteByte(' ')
	_, _ = out.WriteString(r.RequestURI)
	_, _ = out.WriteString(" HTTP/1.1\r\n")
	field("Host", r.Host)
	connection := r.Header["Connection"]
	for name, values := range r.Header {
		if own(name) || forwarded(name) || name == "Content-Length" || len(connection) > 0 && named(connection, name) {
			continue
		}
		for _, v := range values {
			field(name, v)
		}
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		field("X-Forwarded-For", host)
	}
	field("X-Forwarded-Host", r.Host)
	field("X-Forwarded-Proto", "http")
	if len(body) > 0 || expectsBody(r.Method) {
		field("Content-Length", strconv.Itoa(len(body)))
	}
	_, _ = out.WriteString("\r\n")
	_, _ = out.Write(body)
}

func expectsBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// copyHeader takes over an answer's header but for what concerns the connection.
func copyHeader(to, from http.Header) {
	connection := from["Connection"]
	for name, values := range from {
		if own(name) || len(connection) > 0 && named(connection, name) {
			continue
		}
		to[name] = values
	}
	for _, name := range []string{"Date", "Content-Type"} {
		if _, told := from[name]; !told {
			to[name] = nil // the app left it out: the gateway's server must not put its own in
		}
	}
}
