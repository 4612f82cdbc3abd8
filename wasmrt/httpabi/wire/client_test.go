package wire

import (
	"net/http"
	"reflect"
	"testing"
)

var responseHeads = []ResponseHead{
	{Status: 200, Proto: "HTTP/1.1", Header: http.Header{}},
	{Status: 404, Proto: "HTTP/2.0", ContentLength: -1, Header: http.Header{"A": {"b", ""}, "C": {"d"}}, Trailer: []string{"X-Sum"}},
	{Status: 999, ContentLength: 1 << 40, Header: http.Header{"X": nil}},
}

func TestResponseHead(t *testing.T) {
	for _, h := range responseHeads {
		b := string(AppendResponseHead(nil, &h))
		got, err := DecodeResponseHead(b)
		if err != nil || !reflect.DeepEqual(*got, h) {
			t.Errorf("got %+v, %v, want %+v", got, err, h)
		}
		for n := range b {
			if _, err := DecodeResponseHead(b[:n]); err == nil {
				t.Errorf("cut off at %d of %d it is accepted", n, len(b))
			}
		}
		if _, err := DecodeResponseHead(b + "\x00"); err == nil {
			t.Error("bytes after the head are accepted")
		}
	}
}

func FuzzDecodeResponseHead(f *testing.F) {
	for _, h := range responseHeads {
		f.Add(string(AppendResponseHead(nil, &h)))
	}
	f.Fuzz(func(t *testing.T, block string) {
		h, err := DecodeResponseHead(block)
		if err != nil {
			return
		}
		again, err := DecodeResponseHead(string(AppendResponseHead(nil, h)))
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Errorf("%+v becomes %+v, %v", h, again, err)
		}
	})
}
