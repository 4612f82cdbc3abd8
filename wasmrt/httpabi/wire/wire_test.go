package wire

import (
	"bytes"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

var heads = []RequestHead{
	{Method: "GET", URI: "/", Proto: "HTTP/1.1", Header: http.Header{}},
	{
		Method: "POST", URI: "/a/b?c=d%20e", Proto: "HTTP/2.0", Host: "app.localhost:8081", RemoteAddr: "127.0.0.1:4711",
		TLS: true, ContentLength: -1, Trailer: []string{"X-Sum", "X-Sig"},
		Header: http.Header{"Accept": {"a", "b"}, "X-Empty": {""}, "X-None": nil, "X-Long": {strings.Repeat("x", 1000)}},
	},
	{Method: "PUT", URI: "*", ContentLength: 1 << 40, Header: http.Header{"Ünïcode": {"\x00\xff"}}},
}

func TestRequestHead(t *testing.T) {
	for _, h := range heads {
		b := AppendRequestHead(nil, &h)
		got, err := DecodeRequestHead(b)
		if err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		if !reflect.DeepEqual(*got, h) {
			t.Errorf("got %+v, want %+v", *got, h)
		}
		for n := range b {
			if _, err := DecodeRequestHead(b[:n]); err == nil {
				t.Errorf("cut off at %d of %d it is accepted", n, len(b))
			}
		}
		if _, err := DecodeRequestHead(append(b, 0)); err == nil {
			t.Error("bytes after the head are accepted")
		}
	}
}

func TestHeader(t *testing.T) {
	// The same name in two spellings is one list to nobody here: names are kept as they are.
	h := http.Header{"a": {"1"}, "A": {"2", "3"}, "B": nil}
	got, err := DecodeHeader(AppendHeader(nil, h))
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("got %v, %v, want %v", got, err, h)
	}
	if _, ok := got["B"]; !ok {
		t.Error("a field without values is lost")
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	allocs := testing.AllocsPerRun(1, func() {
		if _, err := DecodeHeader(huge); err == nil {
			t.Error("four milliards of fields are accepted")
		}
	})
	if allocs > 20 {
		t.Errorf("%v allocations for a huge count", allocs)
	}
}

func FuzzDecodeRequestHead(f *testing.F) {
	for _, h := range heads {
		b := AppendRequestHead(nil, &h)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeRequestHead(b)
		if err != nil {
			return
		}
		again, err := DecodeRequestHead(AppendRequestHead(nil, h))
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Errorf("%+v becomes %+v, %v", h, again, err)
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add(AppendHeader(nil, heads[1].Header))
	f.Add([]byte{1, 1, 'a', 2, 1, 'b', 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHeader(b)
		if err != nil {
			return
		}
		if out := AppendHeader(nil, h); len(out) > len(b) {
			t.Errorf("%x becomes longer: %x", b, out)
		} else if again, err := DecodeHeader(out); err != nil || !bytes.Equal(out, AppendHeader(nil, again)) {
			t.Errorf("%x is not stable: %v", b, err)
		}
	})
}
