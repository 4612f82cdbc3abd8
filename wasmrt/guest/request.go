package guest

import (
	"crypto/tls"
	"net/http"
)

// read makes the http.Request that a server would make of the same bytes.
func (x *exchange) read(h host) (*http.Request, error) {
	block, code := fetch(x.room[:headSize], h.requestHead)
	if code < 0 {
		return nil, hostError("request head", code)
	}
	x.used = min(len(block), headSize)
	head := &x.head
	if err := head.Decode(x.text(block)); err != nil {
		return nil, err
	}
	u := &x.url
	if !parsePlain(u, head.URI) {
		var err error
		if u, err = parseURI(head.Method, head.URI); err != nil {
			return nil, err
		}
	}
	x.context.host = h
	r := &x.request
	r.Method, r.URL, r.RequestURI, r.Proto, r.Host = head.Method, u, head.URI, head.Proto, head.Host
	r.RemoteAddr, r.Header, r.ContentLength, r.Body = head.RemoteAddr, head.Header, head.ContentLength, http.NoBody
	if r.Proto == "HTTP/1.1" {
		r.ProtoMajor, r.ProtoMinor = 1, 1
	} else {
		r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(r.Proto)
	}
	if u.Host != "" { // a request to a proxy names the host in its first line, which counts more than the header
		r.Host = u.Host
	}
	if head.TLS {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, ServerName: head.Host}
	}
	if len(head.Trailer) > 0 {
		r.Trailer = http.Header{}
		for _, name := range head.Trailer {
			r.Trailer[name] = nil
		}
	}
	if head.ContentLength != 0 {
		x.body = body{host: h, request: r, left: head.ContentLength}
		r.Body = &x.body
		if head.ContentLength < 0 && r.ProtoMajor == 1 {
			r.TransferEncoding = []string{"chunked"}
		}
	}
	return r, nil
}
