package http1

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
)

func TestVerdicts(t *testing.T) {
	tests := []struct {
		text string
		want verdict
	}{
		{"", unfinished},
		{"GET", unfinished},
		{"GET / HTTP/1.1\r\nHost: a\r\n", unfinished},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", plain},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", plain},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", plain},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na", other},
		{"GET / HTTP/1.1\nHost", other},
		{"\r\n", unfinished},
		{"\r\n\r\n", other},
		{string(bytes.Repeat([]byte("a"), maxPlain)), other},
	}
	for _, tt := range tests {
		var h head
		if got := h.parse([]byte(tt.text)); got != tt.want {
			t.Errorf("%.40q: %d, want %d", tt.text, got, tt.want)
		}
	}
}

// FuzzParse finds nothing plain that net/http reads otherwise.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		get, "POST /a%20b?c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-a: 1\r\nx-A: 2\r\n\r\nabcdef",
		"GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: Keep-Alive\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX:\x80\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h head
		if h.parse(b) != plain {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b, err)
		}
		got := &http.Request{}
		u := h.url
		h.fill(got, &u)
		if got.Method != want.Method || got.Host != want.Host || got.RequestURI != want.RequestURI || got.Proto != want.Proto ||
			got.ContentLength != want.ContentLength || *got.URL != *want.URL || len(want.TransferEncoding) > 0 || want.Close {
			t.Errorf("%q:\n%+v\nnet/http:\n%+v", b, got, want)
		}
		if !maps.EqualFunc(got.Header, want.Header, slices.Equal) {
			t.Errorf("%q: header %v, net/http's %v", b, got.Header, want.Header)
		}
		body, err := io.ReadAll(want.Body)
		if err != nil || string(body) != string(b[h.size:h.size+h.length]) {
			t.Errorf("%q: body %q %v", b, body, err)
		}
	})
}
