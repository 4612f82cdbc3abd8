package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/petrelrun/petrel/wasmrt/httpabi/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// grants is a policy that lets through one port of the loopback.
type grants struct{ port int }

type denied struct{ what string }

func (d *denied) Error() string { return d.what + " is not granted" }

func (d *denied) Is(target error) bool { return target == fs.ErrPermission }

func (g grants) CheckHTTP(scheme, host string, port int) error {
	if scheme == "http" && port == g.port {
		return nil
	}
	return &denied{fmt.Sprintf("%s:%s:%d", scheme, host, port)}
}

func (g grants) DialHTTP(ctx context.Context, _, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, &denied{address}
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// world is a server, and a session that may ask it.
func world(t *testing.T, h http.Handler) (*Session, string) {
	t.Helper()
	server := httptest.NewServer(h)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	c := New(grants{port})
	s := c.Session(t.Context())
	t.Cleanup(func() {
		s.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return s, server.URL
}

// until asks again as long as there is nothing yet, as a guest does.
func until(t *testing.T, s *Session, call func() int32) int32 {
	t.Helper()
	for range 1000 {
		if n := call(); n != wire.ErrAgain {
			return n
		}
		if n := s.wait(10 * time.Second); n != 1 {
			t.Fatalf("wait = %d", n)
		}
	}
	t.Fatal("nothing comes")
	return 0
}

func (s *Session) open4test(h wire.RequestHead) int32 {
	return s.request(wire.AppendRequestHead(nil, &h))
}

func readHead(t *testing.T, s *Session, handle int32) *wire.ResponseHead {
	t.Helper()
	buf := make([]byte, 4096)
	n := until(t, s, func() int32 { return s.head(handle, buf) })
	if n < 0 {
		s.errorText(handle, buf)
		t.Fatalf("head: %d, %.200s", n, buf)
	}
	head, err := wire.DecodeResponseHead(string(buf[:n]))
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func readBody(t *testing.T, s *Session, handle int32) (string, int32) {
	t.Helper()
	var all strings.Builder
	buf := make([]byte, 1000)
	for {
		n := until(t, s, func() int32 { return s.read(handle, buf) })
		if n <= 0 {
			return all.String(), n
		}
		all.Write(buf[:n])
	}
}

func TestExchange(t *testing.T) {
	s, at := world(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Saw", fmt.Sprint(r.Method, " ", r.Host, " ", r.Header.Get("X-A"), " ", r.Header.Get("User-Agent"), " ", r.Trailer.Get("X-Late")))
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
		w.Header().Set("X-Sum", strconv.Itoa(len(body)))
	}))
	handle := s.open4test(wire.RequestHead{Method: "POST", URI: at + "/x", Host: "other.example", ContentLength: -1,
		Header: http.Header{"x-a": {"1"}}, Trailer: []string{"X-Late"}})
	if handle != 0 {
		t.Fatalf("open = %d", handle)
	}
	sent := strings.Repeat("0123456789", 20_000) // more than a flow holds
	for at := 0; at < len(sent); {
		n := until(t, s, func() int32 { return s.write(handle, []byte(sent[at:])) })
		if n <= 0 {
			t.Fatalf("write = %d", n)
		}
		at += int(n)
	}
	if n := s.end(handle, wire.AppendHeader(nil, http.Header{"X-Late": {"t"}, "X-Unannounced": {"u"}})); n != 0 {
		t.Fatalf("end = %d", n)
	}
	if n := s.end(handle, nil); n != wire.ErrState {
		t.Errorf("a second end = %d", n)
	}
	head := readHead(t, s, handle)
	if head.Status != 201 || head.Header.Get("X-Saw") != "POST other.example 1  t" || head.ContentLength != -1 {
		t.Errorf("head %+v", head)
	}
	if n := s.trailers(handle, nil); n != wire.ErrState {
		t.Errorf("trailers before the end = %d", n)
	}
	if got, n := readBody(t, s, handle); got != sent || n != 0 {
		t.Errorf("%d bytes came back, end %d", len(got), n)
	}
	buf := make([]byte, 100)
	n := until(t, s, func() int32 { return s.trailers(handle, buf) })
	if trailer, err := wire.DecodeHeader(string(buf[:n])); err != nil || trailer.Get("X-Sum") != "200000" {
		t.Errorf("trailers %v, %v", trailer, err)
	}
	if n := s.forget(handle); n != 0 {
		t.Errorf("close = %d", n)
	}
	for name, n := range map[string]int32{
		"close": s.forget(handle), "write": s.write(handle, buf), "end": s.end(handle, nil), "head": s.head(handle, buf),
		"read": s.read(handle, buf), "trailers": s.trailers(handle, buf), "error": s.errorText(handle, buf),
	} {
		if n != wire.ErrHandle {
			t.Errorf("%s after close = %d", name, n)
		}
	}
}

func TestRefused(t *testing.T) {
	s, at := world(t, http.NotFoundHandler())
	for name, tt := range map[string]struct {
		head wire.RequestHead
		code int32
		says string
	}{
		"another port":   {wire.RequestHead{Method: "GET", URI: "http://127.0.0.1:1/"}, wire.ErrDenied, "http:127.0.0.1:1 is not granted"},
		"the default's":  {wire.RequestHead{Method: "GET", URI: "https://example.com/"}, wire.ErrDenied, "https:example.com:443"},
		"another scheme": {wire.RequestHead{Method: "GET", URI: "ftp://127.0.0.1/"}, wire.ErrInvalid, "neither http nor https"},
		"no host":        {wire.RequestHead{Method: "GET", URI: "/x"}, wire.ErrInvalid, "not absolute"},
		"a user":         {wire.RequestHead{Method: "GET", URI: "http://u:secret@127.0.0.1/"}, wire.ErrInvalid, "u:xxxxx@"},
		"a method":       {wire.RequestHead{Method: "G T", URI: at}, wire.ErrInvalid, "method"},
		"a port":         {wire.RequestHead{Method: "GET", URI: "http://127.0.0.1:99999/"}, wire.ErrInvalid, "port"},
	} {
		if code := s.open4test(tt.head); code != tt.code {
			t.Errorf("%s: %d, want %d", name, code, tt.code)
		}
		buf := make([]byte, maxErrorText)
		n := s.errorText(-1, buf)
		if n <= 0 || !strings.Contains(string(buf[:n]), tt.says) {
			t.Errorf("%s: error %q does not say %q", name, buf[:max(n, 0)], tt.says)
		}
	}
	if code := s.request([]byte{1}); code != wire.ErrInvalid {
		t.Errorf("half a head: %d", code)
	}
	// A name that passes and an address that does not.
	handle := s.open4test(wire.RequestHead{Method: "GET", URI: strings.Replace(at, "127.0.0.1", "192.0.2.1", 1)})
	if code := until(t, s, func() int32 { return s.head(handle, nil) }); code != wire.ErrDenied {
		t.Errorf("an address that is not granted: %d", code)
	}
	if code := s.read(handle, make([]byte, 1)); code != wire.ErrDenied {
		t.Errorf("its body: %d", code)
	}
}

func TestLimit(t *testing.T) {
	s, at := world(t, http.NotFoundHandler())
	for i := range int32(MaxOpen) {
		if handle := s.open4test(wire.RequestHead{Method: "GET", URI: at}); handle != i {
			t.Fatalf("open = %d, want %d", handle, i)
		}
	}
	if code := s.open4test(wire.RequestHead{Method: "GET", URI: at}); code != wire.ErrLimit {
		t.Errorf("one more: %d", code)
	}
	s.forget(3)
	if handle := s.open4test(wire.RequestHead{Method: "GET", URI: at}); handle != MaxOpen {
		t.Errorf("after a close: %d", handle)
	}
}

func TestBrokenResponse(t *testing.T) {
	s, at := world(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}))
	handle := s.open4test(wire.RequestHead{Method: "GET", URI: at})
	if head := readHead(t, s, handle); head.ContentLength != 100 {
		t.Errorf("head %+v", head)
	}
	if got, n := readBody(t, s, handle); got != "half" || n != wire.ErrIO {
		t.Errorf("body %q, end %d", got, n)
	}
	buf := make([]byte, maxErrorText)
	if n := s.errorText(handle, buf); n <= 0 || !strings.Contains(string(buf[:n]), "unexpected EOF") {
		t.Errorf("error %q", buf[:max(n, 0)])
	}
}

// TestCloseEndsAll: the server hangs in one exchange and reads nothing in another, and both end with the session.
func TestCloseEndsAll(t *testing.T) {
	inside, release := make(chan struct{}, 2), make(chan struct{})
	s, at := world(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inside <- struct{}{}
		<-release
	}))
	t.Cleanup(func() { close(release) })
	s.open4test(wire.RequestHead{Method: "GET", URI: at})
	second := s.open4test(wire.RequestHead{Method: "POST", URI: at, ContentLength: 1 << 30})
	for { // until nothing more goes for a while: the server reads nothing
		if s.write(second, make([]byte, 1<<20)) == wire.ErrAgain && s.wait(100*time.Millisecond) == 0 {
			break
		}
	}
	<-inside
	<-inside
	s.Close() // returns when the goroutines have ended
}

func TestWait(t *testing.T) {
	s, at := world(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	if n := s.wait(time.Millisecond); n != 0 {
		t.Errorf("nothing is under way, and wait = %d", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := s.client.Session(ctx)
	defer ended.Close()
	handle := ended.open4test(wire.RequestHead{Method: "GET", URI: at})
	time.AfterFunc(20*time.Millisecond, cancel)
	var code int32
	for code = 1; code == 1; code = ended.wait(10 * time.Second) { //nolint:revive // until the end is told
	}
	if code != wire.ErrCancelled && code != 0 {
		t.Errorf("after the end wait = %d", code)
	}
	if code := until(t, ended, func() int32 { return ended.head(handle, nil) }); code != wire.ErrCancelled {
		t.Errorf("after the end head = %d", code)
	}
}

func TestCodes(t *testing.T) {
	for want, err := range map[int32]error{
		0: nil, wire.ErrDenied: fmt.Errorf("dial: %w", &denied{}), wire.ErrCancelled: context.DeadlineExceeded,
		wire.ErrLimit: errTooMany, wire.ErrIO: errors.New("x"), wire.ErrInvalid: &urlError{},
	} {
		if got := codeOf(err); got != want {
			t.Errorf("codeOf(%v) = %d, want %d", err, got, want)
		}
	}
}
