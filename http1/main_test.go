package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a server of either kind at an address.
type served struct {
	addr  string
	front *Server // nil for net/http's
	conns *atomic.Int64
}

// startFront serves with this package until the test ends.
func startFront(t testing.TB, h http.Handler, change func(*Server)) served {
	t.Helper()
	var conns atomic.Int64
	s := New(Config{Handler: h, ReadHeaderTimeout: 2 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		Count: func(n int) { conns.Add(int64(n)) }})
	if change != nil {
		change(s)
	}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for deadline := time.Now().Add(60 * time.Second); conns.Load() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections are left", conns.Load())
			}
		}
	})
	return served{l.Addr().String(), s, &conns}
}

// startStandard serves with net/http until the test ends.
func startStandard(t testing.TB, h http.Handler) served {
	t.Helper()
	s := &http.Server{Handler: h, ReadHeaderTimeout: 2 * time.Second, MaxHeaderBytes: 64 << 10, ErrorLog: noLog}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return served{addr: l.Addr().String()}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// converse sends bytes and answers all that comes back until the connection ends, or as many responses as were asked for.
func converse(t testing.TB, addr, request string, responses int, methods ...string) string {
	t.Helper()
	c := dial(t, addr)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	var out strings.Builder
	for i := range responses {
		method := http.MethodGet
		if i < len(methods) {
			method = methods[i]
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			fmt.Fprintf(&out, "end: %v\n", strings.ReplaceAll(err.Error(), addr, "ADDR"))
			break
		}
		body, err := io.ReadAll(resp.Body)
		if errors.Is(err, syscall.ECONNRESET) { // the end of a connection with bytes that nobody has read
			err = nil
		}
		fmt.Fprintf(&out, "%s %d close=%v length=%d %v\n", resp.Proto, resp.StatusCode, resp.Close, resp.ContentLength, resp.TransferEncoding)
		out.WriteString(headerText(resp.Header))
		out.WriteString("trailer:\n" + headerText(resp.Trailer))
		fmt.Fprintf(&out, "body %d %.200q %v\n", len(body), body, err)
		if resp.Close {
			rest, _ := io.ReadAll(r)
			fmt.Fprintf(&out, "then %q\n", rest)
			break
		}
	}
	return out.String()
}

func headerText(h http.Header) string {
	var lines []string
	for name, values := range h {
		if name == "Date" {
			values = []string{"some"}
		}
		lines = append(lines, fmt.Sprintf("  %s: %q\n", name, values))
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}

// describe tells all that a handler can see of a request.
func describe(r *http.Request) []byte {
	var b bytes.Buffer
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(&b, "%s %s %s %d.%d host=%q length=%d te=%v close=%v form=%v\n", r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Host,
		r.ContentLength, r.TransferEncoding, r.Close, r.Form)
	fmt.Fprintf(&b, "url %q %q %q %q %q %v\n", r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.URL.Host, r.URL.Fragment, r.URL.ForceQuery)
	fmt.Fprintf(&b, "%strailer %v\nbody %q %v\n", headerText(r.Header), r.Trailer, body, err)
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprintf(&b, "remote %s local %v tls %v\n", host, r.Context().Value(http.LocalAddrContextKey) != nil, r.TLS)
	return b.Bytes()
}
