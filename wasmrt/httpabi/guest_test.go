package httpabi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

func TestRequests(t *testing.T) {
	s := apiServer(t, Config{})
	host := strings.TrimPrefix(s.URL, "http://")

	r := s.request(t, "PATCH", "/meta?a=b%20c&d", strings.NewReader("12345"))
	r.Header["X-Two"] = []string{"one", "two"}
	want := "PATCH|/meta?a=b%20c&d|/meta?a=b%20c&d|HTTP/1.1|" + host + `|5|[]|false|["one" "two"]|true`
	if _, body := s.do(t, r); body != want {
		t.Errorf("meta:\n got %s\nwant %s", body, want)
	}
	r = s.request(t, "POST", "/meta", io.MultiReader(strings.NewReader("chunked")))
	if _, body := s.do(t, r); !strings.Contains(body, "|-1|[chunked]|") {
		t.Errorf("chunked: %s", body)
	}
	for range 2 {
		if _, body := s.get(t, "/hits"); body != "1" {
			t.Errorf("hits %s: a request saw another's memory", body)
		}
	}
	if resp, body := s.get(t, "/nowhere"); resp.StatusCode != 404 || body != "404 page not found\n" {
		t.Errorf("not found: %s %q", resp.Status, body)
	}
	if resp, body := s.do(t, s.request(t, "HEAD", "/hits", nil)); resp.ContentLength != 1 || body != "" {
		t.Errorf("HEAD: length %d, %q", resp.ContentLength, body)
	}
}

func TestBodies(t *testing.T) {
	s := apiServer(t, Config{})
	for _, n := range []int{0, 1, 4095, 4096, 4097, 100 << 10, 250 << 10, 3 << 20} {
		data := bytes.Repeat([]byte("petrel!"), n/7+1)[:n]
		if _, body := s.do(t, s.request(t, "POST", "/echo", bytes.NewReader(data))); body != string(data) {
			t.Errorf("echo of %d bytes gives %d", n, len(body))
		}
	}
	r := s.request(t, "POST", "/sum", io.MultiReader(strings.NewReader("abc"), strings.NewReader("defg")))
	r.Trailer = http.Header{"X-Check": {"checked"}}
	if _, body := s.do(t, r); body != "7 <nil> checked" {
		t.Errorf("request trailers: %q", body)
	}
	if resp, body := s.get(t, "/trailers"); body != "body" || resp.Trailer.Get("X-Announced") != "one" || resp.Trailer.Get("X-Late") != "two" {
		t.Errorf("response trailers: %q %v", body, resp.Trailer)
	}
	if resp, body := s.get(t, "/big?n=100000"); len(body) != 100_000 || resp.ContentLength != -1 {
		t.Errorf("a long response: %d bytes, length %d", len(body), resp.ContentLength)
	}
	if resp, body := s.get(t, "/big?n=1000"); len(body) != 1000 || resp.ContentLength != 1000 {
		t.Errorf("a short response: %d bytes, length %d", len(body), resp.ContentLength)
	}
}

// A guest may answer without having read the request; the connection serves the next one.
func TestUnreadBodies(t *testing.T) {
	s := apiServer(t, Config{})
	for _, path := range []string{"/big?n=10", "/big?n=100000", "/hits"} {
		for _, n := range []int{1, 5_000, 300_000} {
			for range 5 {
				r := s.request(t, "POST", path, io.MultiReader(bytes.NewReader(make([]byte, n)))) // chunked
				if resp, _ := s.do(t, r); resp.StatusCode != 200 {
					t.Errorf("%s after %d bytes: %s", path, n, resp.Status)
				}
				if _, body := s.get(t, "/hits"); body != "1" {
					t.Errorf("the request after one to %s with %d bytes: %q", path, n, body)
				}
			}
		}
	}
}

// The first event arrives while the handler still runs, and a client that waits for an answer before it goes on sending
// is not left waiting.
func TestStreaming(t *testing.T) {
	s := apiServer(t, Config{})
	for range 20 { // a client that was late sees all events at once
		if streamed(t, s) {
			return
		}
	}
	t.Error("the first event never came before the others: nothing was streamed")
}

// streamed says whether the first event came well before the last one.
func streamed(t *testing.T, s *server) bool {
	t.Helper()
	resp, err := s.Client().Do(s.request(t, "GET", "/stream?n=5", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	start := time.Now()
	var first time.Duration
	lines := bufio.NewScanner(resp.Body)
	for n := 0; lines.Scan(); n++ {
		if want := fmt.Sprintf("event %d", n); lines.Text() != want {
			t.Errorf("got %q, want %q", lines.Text(), want)
		}
		if n == 0 {
			first = time.Since(start)
		}
	}
	return first <= time.Since(start)-20*time.Millisecond
}

func TestStatuses(t *testing.T) {
	s := apiServer(t, Config{})
	for _, code := range []int{200, 201, 301, 404, 418, 500, 599} {
		if resp, body := s.get(t, fmt.Sprintf("/status/%d", code)); resp.StatusCode != code || body != "x" {
			t.Errorf("status %d: %s %q", code, resp.Status, body)
		}
	}
	for _, code := range []int{204, 304} {
		if resp, body := s.get(t, fmt.Sprintf("/status/%d", code)); resp.StatusCode != code || body != "" {
			t.Errorf("status %d: %s %q", code, resp.Status, body)
		}
		if want := fmt.Sprintf("write after %d: %v", code, http.ErrBodyNotAllowed); !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	r := s.request(t, "GET", "/early", nil)
	var early textproto.MIMEHeader
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 {
				early = h
			}
			return nil
		}}))
	if resp, body := s.do(t, r); body != "done" || early.Get("Link") != "</a.css>" || resp.Header.Get("X-Final") != "yes" {
		t.Errorf("early hints %v, then %q", early, body)
	}
	// A body longer than it was said to be reaches nobody whole.
	if resp, err := s.Client().Do(s.request(t, "GET", "/length", nil)); err == nil {
		_, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Error("a body of the wrong length is taken for whole")
		}
	}
	if want := "flush: " + http.ErrContentLength.Error(); !strings.Contains(s.log.String(), want) {
		t.Errorf("the log does not say %q: %s", want, s.log)
	}
}

func TestGoroutines(t *testing.T) {
	s := apiServer(t, Config{})
	if _, body := s.get(t, "/goroutines"); body != "[0 1 4 9 16 25 36 49 64 81]" {
		t.Errorf("goroutines: %q", body)
	}
	if _, body := s.get(t, "/derived"); body != "true <nil>" {
		t.Errorf("a derived context: %q", body)
	}
}

func TestPanics(t *testing.T) {
	s := apiServer(t, Config{})
	resp, body := s.get(t, "/panic")
	wantProblem(t, resp, body, 500, CodeGuestPanic)
	if log := s.log.String(); !strings.Contains(log, "http: panic serving 127.0.0.1:") || !strings.Contains(log, "as told\n") || !strings.Contains(log, "main.go:") {
		t.Errorf("the log has no panic with its stack: %s", log)
	}
	for _, path := range []string{"/panic-late", "/abort"} {
		resp, err := s.Client().Do(s.request(t, "GET", path, nil))
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the client takes the answer for whole", path)
		}
	}
	if n := strings.Count(s.log.String(), "panic serving"); n != 2 {
		t.Errorf("%d panics are logged, want 2: an abort is silent", n)
	}
	resp, body = s.get(t, "/exit")
	wantProblem(t, resp, body, 502, CodeGuestExit, "code 3")
	resp, body = s.get(t, "/deadlock")
	wantProblem(t, resp, body, 502, CodeTrap)
	if !strings.Contains(s.log.String(), "all goroutines are asleep") {
		t.Errorf("the log does not tell of the deadlock: %s", s.log)
	}
}

func TestClientGone(t *testing.T) {
	s := apiServer(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := s.Client().Do(s.request(t, "GET", "/wait", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len("waiting"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	deadline := time.Now().Add(60 * time.Second)
	for !strings.Contains(s.log.String(), "context: context canceled") {
		if time.Now().After(deadline) {
			t.Fatalf("the guest's context did not end with its client: %q", s.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Lines of guests that run at the same time come out whole, and so does one that has no end.
func TestLogLines(t *testing.T) {
	s := apiServer(t, Config{})
	done := make(chan struct{})
	const requests = 6
	for i := range requests {
		go func() {
			defer func() { done <- struct{}{} }()
			s.get(t, fmt.Sprintf("/log?name=%d", i))
		}()
	}
	for range requests {
		<-done
	}
	lines := strings.Split(strings.TrimSuffix(s.log.String(), "\n"), "\n")
	count := map[string]int{}
	for _, l := range lines {
		count[l]++
	}
	for i := range requests {
		for n := range 3 {
			if l := fmt.Sprintf("line %d of %d", n, i); count[l] != 1 {
				t.Errorf("%q is there %d times", l, count[l])
			}
		}
	}
	if count["unfinished"] != requests || len(lines) != 4*requests {
		t.Errorf("%d lines, %d unfinished ones", len(lines), count["unfinished"])
	}
}

func TestMeasure(t *testing.T) {
	s := apiServer(t, Config{})
	cold, err := s.handler.Measure(t.Context())
	if err != nil || !cold.Snapshotted || cold.Snapshot <= 0 || cold.CloneP50 <= 0 || cold.CloneP99 < cold.CloneP50 {
		t.Errorf("cold start %+v, %v", cold, err)
	}
	if s.handler.Stats().FirstRequest != 0 {
		t.Error("the first request took time before it came")
	}
	s.get(t, "/hits")
	s.get(t, "/hits")
	if st := s.handler.Stats(); st.FirstRequest <= 0 || st.Requests != 2 || st.Time < st.FirstRequest || st.Pool.Calls < 2 || st.Pool.Fuel == 0 {
		t.Errorf("after two requests: %+v", st)
	}
	broken := apiServer(t, Config{Spec: engine.Spec{Env: []string{"FAIL_INIT=1"}}})
	_, err = broken.handler.Measure(t.Context())
	var exit *engine.ExitError
	if !errors.As(err, &exit) || exit.Code != 1 || !strings.Contains(broken.log.String(), "init fails as told") {
		t.Errorf("a failing init: %v, log %q", err, broken.log)
	}
	resp, body := broken.get(t, "/hits")
	wantProblem(t, resp, body, 502, CodeGuestExit, "code 1")
}
