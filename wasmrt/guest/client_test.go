package guest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// farServer is a host whose only server echoes: it answers when it has the whole body, each call a while later.
type farServer struct {
	mu       sync.Mutex
	refuse   int32 // what open answers
	headCode int32 // what head answers in the end
	request  *wire.RequestHead
	trailer  http.Header
	body     []byte
	ended    bool
	closed   bool
	patience int // calls that are told to come again
	waits    int
}

func (f *farServer) again() bool {
	f.patience++
	return f.patience%3 != 0
}

func (f *farServer) lock() func() {
	f.mu.Lock()
	return f.mu.Unlock
}

func (f *farServer) open(head []byte) int32 {
	defer f.lock()()
	if f.refuse != 0 {
		return f.refuse
	}
	var err error
	if f.request, err = wire.DecodeRequestHead(string(head)); err != nil {
		return wire.ErrInvalid
	}
	return 7
}

func (f *farServer) write(handle int32, p []byte) int32 {
	defer f.lock()()
	if handle != 7 || f.ended || f.closed {
		return wire.ErrState
	}
	if f.again() {
		return wire.ErrAgain
	}
	n := min(len(p), 100)
	f.body = append(f.body, p[:n]...)
	return int32(n)
}

func (f *farServer) end(_ int32, trailers []byte) int32 {
	defer f.lock()()
	f.ended = true
	if len(trailers) > 0 {
		f.trailer, _ = wire.DecodeHeader(string(trailers))
	}
	return 0
}

func (f *farServer) head(int32) ([]byte, int32) {
	defer f.lock()()
	switch {
	case f.headCode != 0:
		return nil, f.headCode
	case !f.ended || f.again():
		return nil, wire.ErrAgain
	}
	b := wire.AppendResponseHead(nil, &wire.ResponseHead{Status: 201, Proto: "HTTP/1.1", ContentLength: -1,
		Header: http.Header{"X-A": {"b"}}, Trailer: []string{"X-Sum"}})
	return b, int32(len(b))
}

func (f *farServer) read(_ int32, p []byte) int32 {
	defer f.lock()()
	if f.again() {
		return wire.ErrAgain
	}
	n := copy(p, f.body)
	f.body = f.body[n:]
	return int32(n)
}

func (f *farServer) trailers(int32) ([]byte, int32) {
	b := wire.AppendHeader(nil, http.Header{"X-Sum": {"9"}})
	return b, int32(len(b))
}

func (f *farServer) errorText(int32) string { return "the host says why" }

func (f *farServer) close(int32) {
	defer f.lock()()
	f.closed = true
}

func (f *farServer) wait(uint32) int32 {
	defer f.lock()()
	f.waits++
	return 1
}

func TestRoundTrip(t *testing.T) {
	f := &farServer{}
	sent := strings.Repeat("abc", 1000)
	r, err := http.NewRequest("POST", "http://user:word@example.com/x?y", io.MultiReader(strings.NewReader(sent)))
	if err != nil {
		t.Fatal(err)
	}
	r.Trailer = http.Header{"X-Late": {"1"}}
	resp, err := (&http.Client{Transport: &roundTripper{f}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != sent {
		t.Errorf("%d bytes came back, %v", len(body), err)
	}
	if resp.StatusCode != 201 || resp.Status != "201 Created" || resp.Header.Get("X-A") != "b" || resp.Trailer.Get("X-Sum") != "9" {
		t.Errorf("response %+v", resp)
	}
	if f.request.URI != "http://example.com/x?y" || f.request.ContentLength != -1 || f.request.Host != "example.com" ||
		f.request.Header.Get("Authorization") != "Basic dXNlcjp3b3Jk" {
		t.Errorf("request %+v", f.request)
	}
	if !reflect.DeepEqual(f.trailer, http.Header{"X-Late": {"1"}}) || !f.closed || f.waits == 0 {
		t.Errorf("trailer %v, closed %v, %d waits", f.trailer, f.closed, f.waits)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestRoundTripFails(t *testing.T) {
	for name, tt := range map[string]struct {
		host *farServer
		is   error
		says string
	}{
		"denied":          {&farServer{refuse: wire.ErrDenied}, fs.ErrPermission, "the host says why"},
		"denied later":    {&farServer{headCode: wire.ErrDenied}, fs.ErrPermission, "the host says why"},
		"no session":      {&farServer{refuse: wire.ErrState}, nil, "init function"},
		"the time's over": {&farServer{headCode: wire.ErrCancelled}, context.Canceled, ""},
		"broken":          {&farServer{headCode: wire.ErrIO}, nil, "http request: the host says why"},
		"another version": {&farServer{headCode: -99}, nil, "-99"},
	} {
		t.Run(name, func(t *testing.T) {
			f := tt.host
			resp, err := (&http.Client{Transport: &roundTripper{f}}).Get("http://example.com/")
			if err == nil {
				_ = resp.Body.Close()
				t.Fatal("it is answered")
			}
			if tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v", err)
			}
			if f.refuse == 0 && !f.closed {
				t.Error("the exchange is left open")
			}
		})
	}
}

// brokenBody fails in the middle.
type brokenBody struct{ read bool }

var errBroken = errors.New("the disk is full")

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.read {
		return 0, errBroken
	}
	b.read = true
	return copy(p, "half"), nil
}

func TestRequestBodyFails(t *testing.T) {
	f := &farServer{}
	_, err := (&http.Client{Transport: &roundTripper{f}}).Post("http://example.com/", "text/plain", &brokenBody{})
	if !errors.Is(err, errBroken) || f.ended {
		t.Errorf("error %v, ended %v", err, f.ended)
	}
}

func TestRequestContext(t *testing.T) {
	f := &farServer{}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("never mind")
	cancel(gone)
	r := (&http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: "x"}, Header: http.Header{}}).WithContext(ctx)
	f.headCode = wire.ErrAgain
	if _, err := (&roundTripper{f}).RoundTrip(r); !errors.Is(err, gone) || !f.closed {
		t.Errorf("error %v, closed %v", err, f.closed)
	}
}

func TestBodyClosedEarly(t *testing.T) {
	f := &farServer{}
	resp, err := (&http.Client{Transport: &roundTripper{f}}).Get("http://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || !f.closed {
		t.Errorf("close: %v, closed %v", err, f.closed)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read after close: %v", err)
	}
}
