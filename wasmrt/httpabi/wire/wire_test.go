package wire

import (
	"encoding/binary"
	"errors"
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

// same compares what is sent, not how it is held.
func same(a, b *RequestHead) bool {
	x, y := *a, *b
	x.values, y.values = nil, nil
	if len(x.Trailer) == 0 && len(y.Trailer) == 0 {
		x.Trailer, y.Trailer = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

func TestRequestHead(t *testing.T) {
	for _, h := range heads {
		b := string(AppendRequestHead(nil, &h))
		got, err := DecodeRequestHead(b)
		if err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		if !same(got, &h) {
			t.Errorf("got %+v, want %+v", *got, h)
		}
		var again RequestHead
		again.Reserve(3)
		if err := again.Decode(b); err != nil || !same(&again, &h) {
			t.Errorf("into a reserved one: %+v, %v, want %+v", again, err, h)
		}
		for n := range b {
			if _, err := DecodeRequestHead(b[:n]); err == nil {
				t.Errorf("cut off at %d of %d it is accepted", n, len(b))
			}
		}
		if _, err := DecodeRequestHead(b + "\x00"); err == nil {
			t.Error("bytes after the head are accepted")
		}
	}
}

func TestHeader(t *testing.T) {
	// The same name in two spellings is one list to nobody here: names are kept as they are.
	h := http.Header{"a": {"1"}, "A": {"2", "3"}, "B": nil}
	got, err := DecodeHeader(string(AppendHeader(nil, h)))
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("got %v, %v, want %v", got, err, h)
	}
	if _, ok := got["B"]; !ok {
		t.Error("a field without values is lost")
	}
	huge := "\xff\xff\xff\xff\x0f"
	allocs := testing.AllocsPerRun(1, func() {
		if _, err := DecodeHeader(huge); err == nil {
			t.Error("four milliards of fields are accepted")
		}
	})
	if allocs > 20 {
		t.Errorf("%v allocations for a huge count", allocs)
	}
}

// Values of different fields share an array; who appends to one must not write into the next.
func TestValuesAreApart(t *testing.T) {
	h, err := DecodeHeader(string(AppendHeader(nil, http.Header{"A": {"1"}, "B": {"2"}, "C": {"3"}})))
	if err != nil {
		t.Fatal(err)
	}
	for name := range h {
		h.Add(name, "more")
	}
	if want := (http.Header{"A": {"1", "more"}, "B": {"2", "more"}, "C": {"3", "more"}}); !reflect.DeepEqual(h, want) {
		t.Errorf("got %v, want %v", h, want)
	}
}

func TestEachField(t *testing.T) {
	got := http.Header{}
	err := EachField("\x03\x01a\x01\x011\x01b\x00\x01a\x02\x012\x013", func(name string, values []string) error {
		got[name] = append(got[name], values...)
		return nil
	})
	if want := (http.Header{"a": {"1", "2", "3"}, "b": nil}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	stop := errors.New("stop")
	calls := 0
	err = EachField(string(AppendHeader(nil, http.Header{"A": {"1"}, "B": {"2"}})), func(string, []string) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("after an error: %d calls, %v", calls, err)
	}
}

func TestNumbers(t *testing.T) {
	for _, v := range []uint64{0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 62, 1<<64 - 1} {
		d := decoder{s: string(binary.AppendUvarint(nil, v)) + "rest"}
		if got := d.number(); got != v || d.s != "rest" || d.err != nil {
			t.Errorf("%d becomes %d, %q is left, %v", v, got, d.s, d.err)
		}
	}
	for _, s := range []string{"", "\x80", strings.Repeat("\xff", 9), strings.Repeat("\xff", 9) + "\x02", strings.Repeat("\x80", 20)} {
		d := decoder{s: s}
		if d.number(); d.err == nil {
			t.Errorf("%x is a number", s)
		}
	}
}

func FuzzDecodeRequestHead(f *testing.F) {
	for _, h := range heads {
		b := string(AppendRequestHead(nil, &h))
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b string) {
		h, err := DecodeRequestHead(b)
		if err != nil {
			return
		}
		again, err := DecodeRequestHead(string(AppendRequestHead(nil, h)))
		if err != nil || !same(h, again) {
			t.Errorf("%+v becomes %+v, %v", h, again, err)
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add(string(AppendHeader(nil, heads[1].Header)))
	f.Add("\x01\x01a\x02\x01b\x00")
	f.Add("\x02\x01a\x01\x01b\x01a\x01\x01c")
	f.Fuzz(func(t *testing.T, b string) {
		h, err := DecodeHeader(b)
		each := http.Header{}
		eachErr := EachField(b, func(name string, values []string) error {
			each[name] = append(each[name], values...)
			return nil
		})
		if (err == nil) != (eachErr == nil) {
			t.Fatalf("%x: DecodeHeader says %v, EachField %v", b, err, eachErr)
		}
		if err != nil {
			return
		}
		if !reflect.DeepEqual(h, each) {
			t.Errorf("%x: DecodeHeader gives %v, EachField %v", b, h, each)
		}
		again, err := DecodeHeader(string(AppendHeader(nil, h)))
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Errorf("%v becomes %v, %v", h, again, err)
		}
	})
}

func BenchmarkDecodeRequestHead(b *testing.B) {
	block := string(AppendRequestHead(nil, &heads[1]))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeRequestHead(block); err != nil {
			b.Fatal(err)
		}
	}
}
