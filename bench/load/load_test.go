package load

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Host != "app.localhost" || r.URL.Path != "/x" {
			w.WriteHeader(http.StatusTeapot)
		}
		fmt.Fprint(w, "hello")
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")

	r := Run(t.Context(), Target{Address: address, Host: "app.localhost", Path: "/x"}, 3, 200*time.Millisecond)
	if r.Failures != 0 || r.Requests == 0 || len(r.Latencies) != r.Requests || r.PerSecond() <= 0 {
		t.Errorf("%d requests, %d failures (%v), %d latencies", r.Requests, r.Failures, r.FirstFail, len(r.Latencies))
	}
	if asked.Load() != int64(r.Requests) {
		t.Errorf("the server counted %d requests, the load %d", asked.Load(), r.Requests)
	}
	if r := Run(t.Context(), Target{Address: address}, 1, 50*time.Millisecond); r.Requests != 0 || r.Failures == 0 || r.FirstFail == nil {
		t.Errorf("of a server that answers 418: %+v", r)
	}
	if r := Run(t.Context(), Target{Address: "127.0.0.1:1"}, 1, 50*time.Millisecond); r.Requests != 0 || r.Failures == 0 {
		t.Errorf("of no server: %+v", r)
	}
}

func TestReadResponse(t *testing.T) {
	for _, c := range []struct {
		text   string
		status int
		body   int64
		bad    bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5, false},
		{"HTTP/1.1 204 No Content\r\n\r\n", 204, 0, false},
		{"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, 5, false},
		{"HTTP/1.1 200 OK\r\n\r\nhello", 200, 0, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, 0, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 200, 0, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 200, 0, true},
		{"HTTP/1.1 abc\r\n\r\n", 0, 0, true},
		{"SSH-2.0-OpenSSH\r\n", 0, 0, true},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHeaderLines), 0, 0, true},
	} {
		status, body, err := readResponse(bufio.NewReader(strings.NewReader(c.text)))
		if (err != nil) != c.bad {
			t.Errorf("%q: error %v", c.text, err)
		}
		if err == nil && (status != c.status || body != c.body) {
			t.Errorf("%q: status %d, body %d", c.text, status, body)
		}
	}
}

// FuzzReadResponse holds the reader to net/http's: what both accept they read alike, and no input makes it read past
// its response.
func FuzzReadResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		status, body, err := readResponse(bufio.NewReader(strings.NewReader(string(data))))
		if err != nil {
			return
		}
		if status < 200 || status > 599 || body < 0 || body > int64(len(data)) {
			t.Fatalf("status %d, body %d of %d bytes", status, body, len(data))
		}
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(data))), nil)
		if err != nil {
			return
		}
		defer res.Body.Close()
		if n, err := io.Copy(io.Discard, res.Body); err == nil && (res.StatusCode != status || n != body && res.ContentLength >= 0) {
			t.Fatalf("net/http reads %d with %d bytes, we %d with %d", res.StatusCode, n, status, body)
		}
	})
}
