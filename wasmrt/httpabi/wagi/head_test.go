package wagi

import (
	"bytes"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestParseHead(t *testing.T) {
	tests := []struct {
		name, out string
		status    int
		header    http.Header
		body      string
	}{
		{"plain", "Content-Type: text/plain\n\nhello", 200, http.Header{"Content-Type": {"text/plain"}}, "hello"},
		{"CRLF", "Content-Type: a\r\nX-Two:b\r\n\r\n\r\nrest", 200, http.Header{"Content-Type": {"a"}, "X-Two": {"b"}}, "\r\nrest"},
		{"status", "Status: 404 Not Found\nContent-Type: a\n\n", 404, http.Header{"Content-Type": {"a"}}, ""},
		{"status alone", "status: 204\n\n", 204, http.Header{}, ""},
		{"redirect", "Location: /there\n\n", 302, http.Header{"Location": {"/there"}}, ""},
		{"redirect with a status", "Location: /there\nStatus: 308\n\n", 308, http.Header{"Location": {"/there"}}, ""},
		{"two values", "set-cookie: a=1\nSet-Cookie: b=2\n\n", 200, http.Header{"Set-Cookie": {"a=1", "b=2"}}, ""},
		{"the host's fields", "Connection: close\nTransfer-Encoding: chunked\nX-A: b\n\n", 200, http.Header{"X-A": {"b"}}, ""},
		{"an empty value", "X-A:\n\n", 200, http.Header{"X-A": {""}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, body, err := parseHead([]byte(tt.out))
			if err != nil {
				t.Fatal(err)
			}
			if h.status != tt.status || !reflect.DeepEqual(h.header, tt.header) || tt.out[body:] != tt.body {
				t.Errorf("got %d %v %q, want %d %v %q", h.status, h.header, tt.out[body:], tt.status, tt.header, tt.body)
			}
		})
	}
}

func TestParseHeadRefuses(t *testing.T) {
	for name, out := range map[string]string{
		"no field":            "hello world\n\n",
		"an empty head":       "\nhello",
		"a name with a space": "Content Type: a\n\n",
		"no name":             ": a\n\n",
		"a folded line":       "A: b\n c\n\n",
		"a return inside":     "A: b\rC: d\n\n",
		"a zero byte":         "A: b\x00\n\n",
		"no status":           "Status: fine\n\n",
		"an early status":     "Status: 103\n\n",
		"too many fields":     strings.Repeat("A: b\n", maxFields+1) + "\n",
		"too long":            strings.Repeat("x", maxHead+1),
		"too long by lines":   strings.Repeat("A: "+strings.Repeat("b", 200)+"\n", maxHead/200) + "\n",
	} {
		if h, _, err := parseHead([]byte(out)); err == nil || errors.Is(err, errMore) {
			t.Errorf("%s: %+v, %v, want a refusal", name, h, err)
		}
	}
	for _, out := range []string{"", "Content", "Content-Type: a\n", "A: b\nC: d"} {
		if _, _, err := parseHead([]byte(out)); !errors.Is(err, errMore) {
			t.Errorf("%q: %v, want that more must come", out, err)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte("Content-Type: text/plain\n\nhello"))
	f.Add([]byte("Status: 404 Not Found\r\nA: b\r\n\r\n"))
	f.Add([]byte("Location: x\nConnection: y\n\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		h, body, err := parseHead(out)
		if err != nil {
			return
		}
		if h.status < 200 || h.status > 999 || body > len(out) || body > maxHead {
			t.Fatalf("status %d, body at %d of %d", h.status, body, len(out))
		}
		for name, values := range h.header {
			for _, v := range values {
				if !validName(name) || strings.ContainsAny(v, "\r\n\x00") {
					t.Fatalf("%q: %q got through", name, v)
				}
			}
		}
		// What follows the head changes nothing of it.
		again, at, err := parseHead(append(bytes.Clone(out[:body]), "more\n\n"...))
		if err != nil || at != body || !reflect.DeepEqual(h, again) {
			t.Fatalf("with another body: %+v at %d, %v", again, at, err)
		}
	})
}
