package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

// double is a host that keeps what a guest does.
type double struct {
	head      wire.RequestHead
	body      []byte
	bodyError int32
	cancelled atomic.Bool

	calls    []string
	sends    int // of head and body together; calls has them as two
	status   int
	header   http.Header
	response bytes.Buffer
	trailer  http.Header
	aborted  int32
	refuse   int32 // what response_write returns
}

func newDouble() *double {
	return &double{head: wire.RequestHead{Method: "GET", URI: "/", Proto: "HTTP/1.1", Host: "h", RemoteAddr: "1.2.3.4:5"}, aborted: -1}
}

func fill(buf, block []byte) int32 {
	if len(block) <= len(buf) {
		copy(buf, block)
	}
	return int32(len(block))
}
func (d *double) requestHead(buf []byte) int32 {
	return fill(buf, wire.AppendRequestHead(nil, &d.head))
}
func (d *double) requestBodyRead(p []byte) int32 {
	if len(d.body) == 0 {
		return d.bodyError
	}
	n := copy(p, d.body[:min(3, len(d.body))])
	d.body = d.body[n:]
	return int32(n)
}
func (d *double) requestTrailers(buf []byte) int32 {
	return fill(buf, wire.AppendHeader(nil, http.Header{"X-T": {"end"}}))
}
func (d *double) requestCancelled() bool { return d.cancelled.Load() }
func (d *double) responseHead(status int, block []byte) int32 {
	d.calls = append(d.calls, fmt.Sprint("head ", status))
	d.status = status
	d.header, _ = wire.DecodeHeader(string(block))
	return 0
}
func (d *double) responseSend(status int, block, p []byte) int32 {
	d.sends++
	if code := d.responseHead(status, block); code < 0 {
		return code
	}
	return d.responseWrite(p)
}
func (d *double) responseWrite(p []byte) int32 {
	if d.refuse < 0 {
		return d.refuse
	}
	d.calls = append(d.calls, fmt.Sprint("write ", len(p)))
	d.response.Write(p)
	return 0
}
func (d *double) responseFlush() int32 { d.calls = append(d.calls, "flush"); return 0 }
func (d *double) responseTrailers(block []byte) int32 {
	d.trailer, _ = wire.DecodeHeader(string(block))
	return 0
}
func (d *double) responseAbort(kind int32) { d.aborted = kind }

func TestResponseCalls(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		calls   []string
	}{
		{"nothing", func(http.ResponseWriter, *http.Request) {}, []string{"head 200"}},
		{"small writes are joined", func(w http.ResponseWriter, _ *http.Request) {
			for range 10 {
				_, _ = io.WriteString(w, "0123456789")
			}
		}, []string{"head 200", "write 100"}},
		{"large ones are not copied", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 3*bufferSize))
		}, []string{"head 200", "write 12288"}},
		{"flush", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(202)
			_, _ = io.WriteString(w, "ab")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "c")
		}, []string{"head 202", "write 2", "flush", "write 1"}},
		{"flush of the head alone", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
		}, []string{"head 200", "flush"}},
		{"informational", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(404)
			w.WriteHeader(500)
		}, []string{"head 103", "head 404"}},
		{"no body", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrBodyNotAllowed) {
				panic(err)
			}
		}, []string{"head 204"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDouble()
			serve(d, tt.handler)
			if !reflect.DeepEqual(d.calls, tt.calls) || d.aborted != -1 {
				t.Errorf("calls %q, aborted %d, want %q", d.calls, d.aborted, tt.calls)
			}
		})
	}
}

func TestHeaderIsFixed(t *testing.T) {
	d := newDouble()
	serve(d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Before", "1")
		w.Header().Set(http.TrailerPrefix+"X-Late", "2")
		w.Header().Set("Trailer", "X-Sum, X-Never")
		w.WriteHeader(200)
		w.Header().Set("X-After", "3")
		w.Header().Set("X-Sum", "4")
	}))
	if want := (http.Header{"X-Before": {"1"}, "Trailer": {"X-Sum, X-Never"}}); !reflect.DeepEqual(d.header, want) {
		t.Errorf("header %v, want %v", d.header, want)
	}
	if want := (http.Header{"X-Late": {"2"}, "X-Sum": {"4"}}); !reflect.DeepEqual(d.trailer, want) {
		t.Errorf("trailer %v, want %v", d.trailer, want)
	}
}

func TestRequest(t *testing.T) {
	d := newDouble()
	d.head = wire.RequestHead{Method: "POST", URI: "/a%2fb?c=d", Proto: "HTTP/1.1", Host: "app", TLS: true, ContentLength: -1,
		Header: http.Header{"A": {"b"}}, Trailer: []string{"X-T"}}
	d.body = []byte("hello world")
	serve(d, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a/b" || r.URL.RawPath != "/a%2fb" || r.FormValue("c") != "d" || r.TLS == nil || r.ProtoMinor != 1 ||
			r.Header.Get("A") != "b" || !reflect.DeepEqual(r.TransferEncoding, []string{"chunked"}) {
			t.Errorf("request %+v", r)
		}
		if body, err := io.ReadAll(r.Body); string(body) != "hello world" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
		if r.Trailer.Get("X-T") != "end" {
			t.Errorf("trailer %v", r.Trailer)
		}
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
		if _, err := r.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("read after close: %v", err)
		}
	}))
	for _, uri := range []string{"", "no slash", "/%zz"} {
		d := newDouble()
		d.head.URI = uri
		serve(d, http.NotFoundHandler())
		if d.aborted != wire.AbortPanic {
			t.Errorf("the target %q is served", uri)
		}
	}
	connect := newDouble()
	connect.head.Method, connect.head.URI = "CONNECT", "example.com:443"
	serve(connect, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Host != "example.com:443" || r.URL.Host != "example.com:443" {
			t.Errorf("CONNECT to %q", r.URL)
		}
	}))
}

func TestHostErrors(t *testing.T) {
	for code, want := range map[int32]error{
		wire.ErrCancelled: context.Canceled, wire.ErrIO: io.ErrUnexpectedEOF, wire.ErrTooLarge: &http.MaxBytesError{},
	} {
		d := newDouble()
		d.head.ContentLength, d.bodyError = 5, code
		serve(d, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			if _, again := r.Body.Read(make([]byte, 1)); again != err {
				t.Errorf("code %d: %v and then %v", code, err, again)
			}
			var tooLarge *http.MaxBytesError
			if !errors.Is(err, want) && !(code == wire.ErrTooLarge && errors.As(err, &tooLarge)) {
				t.Errorf("code %d: %v, want %v", code, err, want)
			}
		}))
	}
	d := newDouble()
	d.refuse = wire.ErrCancelled
	serve(d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write(make([]byte, 2*bufferSize)); !errors.Is(err, context.Canceled) {
			t.Errorf("a refused write: %v", err)
		}
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, context.Canceled) {
			t.Errorf("a flush after it: %v", err)
		}
	}))
}

func TestPanic(t *testing.T) {
	var buf bytes.Buffer
	d := newDouble()
	r, err := newSpare().read(d)
	if err != nil {
		t.Fatal(err)
	}
	logger := log.New(&buf, "", 0)
	recovered(d, logger, r, "oh no")
	if d.aborted != wire.AbortPanic || !strings.HasPrefix(buf.String(), "http: panic serving 1.2.3.4:5: oh no\ngoroutine ") {
		t.Errorf("aborted %d, log %q", d.aborted, buf.String())
	}
	buf.Reset()
	recovered(d, logger, r, fmt.Errorf("wrapped: %w", http.ErrAbortHandler))
	if d.aborted != wire.AbortSilent || buf.Len() > 0 {
		t.Errorf("aborted %d, log %q", d.aborted, buf.String())
	}
	d = newDouble()
	serve(d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half an answer")
		panic(http.ErrAbortHandler)
	}))
	if len(d.calls) > 0 {
		t.Errorf("what was buffered before a panic is sent: %q", d.calls)
	}
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDouble()
		ctx := &requestContext{host: d}
		if ctx.Err() != nil {
			t.Error("a new context is over")
		}
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		time.AfterFunc(105*time.Millisecond, func() { d.cancelled.Store(true) })
		start := time.Now()
		<-derived.Done()
		if took := time.Since(start); took > 105*time.Millisecond+cancelPoll {
			t.Errorf("seen after %s", took)
		}
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("Err is %v", ctx.Err())
		}
		ctx.end() // changes nothing more

		ended := &requestContext{host: newDouble()}
		done := ended.Done()
		ended.end()
		<-done
		late := &requestContext{host: newDouble()}
		late.end()
		<-late.Done()
	})
}

func TestHandle(t *testing.T) {
	defer func() { handler = nil }()
	panics := func(h http.Handler) (did bool) {
		defer func() { did = recover() != nil }()
		Handle(h)
		return false
	}
	if !panics(nil) || panics(http.NotFoundHandler()) || !panics(http.NotFoundHandler()) {
		t.Error("Handle takes nil, or more than one handler")
	}
	d := newDouble()
	serve(d, nil)
	if d.aborted != wire.AbortPanic {
		t.Error("without a handler something is served")
	}
}

// Without a snapshot an instance serves one request after the other. What goes on with an old one must not reach the next.
func TestNothingIsLeftForTheNext(t *testing.T) {
	spare = nil
	var oldW http.ResponseWriter
	var oldR *http.Request
	first := newDouble()
	first.head.URI, first.head.Header = "/first", http.Header{"X-A": {"first"}}
	serve(first, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { oldW, oldR = w, r }))
	second := newDouble()
	second.head.URI, second.head.ContentLength, second.body = "/second", 6, []byte("secret")
	serve(second, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "mine")
		if _, err := oldW.Write([]byte("late")); err == nil {
			t.Error("a finished response is written to")
		}
		oldW.WriteHeader(201)
		if err := http.NewResponseController(oldW).Flush(); err == nil {
			t.Error("a finished response is flushed")
		}
		if n, err := oldR.Body.Read(make([]byte, 10)); n > 0 || err == nil {
			t.Error("a finished request's body is read")
		}
		if oldR.URL.Path != "/first" || oldR.Header.Get("X-A") != "first" || oldR.Context().Err() == nil {
			t.Errorf("the first request became %+v", oldR)
		}
		if got, err := io.ReadAll(r.Body); string(got) != "secret" || err != nil {
			t.Errorf("the second's body: %q, %v", got, err)
		}
	}))
	if second.response.String() != "mine" || !reflect.DeepEqual(second.calls, []string{"head 200", "write 4"}) {
		t.Errorf("the second answers %q by %q", second.response.String(), second.calls)
	}
}
