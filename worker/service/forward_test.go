package service

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rawBackend serves each connection with a function of its own number.
func rawBackend(t *testing.T, serve func(n int, conn net.Conn, in *bufio.Reader)) Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	ended := make(chan struct{})
	t.Cleanup(func() { listener.Close(); close(ended); serving.Wait() })
	serving.Go(func() {
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serving.Go(func() { <-ended; conn.Close() })
				serve(n, conn, bufio.NewReader(conn))
			})
		}
	})
	return Backend{Addr: listener.Addr().(*net.TCPAddr).AddrPort()}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// next reads a request; false when the connection has ended.
func next(in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return true
}

func TestForwarderKeepsConnections(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	var conns atomic.Int32
	routes.apply(appService("a", "default", rawBackend(t, func(n int, conn net.Conn, in *bufio.Reader) {
		conns.Add(1)
		for next(in) {
			fmt.Fprint(conn, okAnswer)
		}
	})))
	for _, method := range []string{"GET", "POST", "HEAD", "DELETE", "GET"} {
		answer, body := ask(t, gateway, method, "a.localhost", "/", strings.NewReader("x"))
		if answer.StatusCode != http.StatusOK || method != "HEAD" && body != "ok" || answer.ContentLength != 2 {
			t.Fatalf("%s: %s %q, length %d", method, answer.Status, body, answer.ContentLength)
		}
		if method == "HEAD" {
			continue // the raw endpoint sends a body that HEAD has not, so its connection is not kept
		}
		if _, has := answer.Header["Content-Type"]; has {
			t.Errorf("%s: a content type was made up: %v", method, answer.Header)
		}
	}
	if got := conns.Load(); got != 2 {
		t.Errorf("%d connections for five requests, want 2", got)
	}
}

func TestForwarderOutlivesConnectionsThatWereClosed(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	var requests atomic.Int32
	routes.apply(appService("a", "default", rawBackend(t, func(n int, conn net.Conn, in *bufio.Reader) {
		if next(in) { // one request a connection, though it promised more
			requests.Add(1)
			fmt.Fprint(conn, okAnswer)
		}
	})))
	for i := range 6 {
		method := []string{"GET", "POST"}[i%2]
		time.Sleep(10 * time.Millisecond) // the close arrives
		if answer, body := ask(t, gateway, method, "a.localhost", "/", strings.NewReader("x")); body != "ok" {
			t.Fatalf("%s: %s %q", method, answer.Status, body)
		}
	}
	if requests.Load() != 6 {
		t.Errorf("%d requests arrived, want 6", requests.Load())
	}
}

func TestForwarderSendsNothingTwiceThatMayHaveBeenDone(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	var requests atomic.Int32
	routes.apply(appService("a", "default", rawBackend(t, func(n int, conn net.Conn, in *bufio.Reader) {
		for i := 0; next(in); i++ {
			requests.Add(1)
			if n > 0 || i > 0 {
				return // breaks off after it has read the request
			}
			fmt.Fprint(conn, okAnswer)
		}
	})))
	ask(t, gateway, http.MethodGet, "a.localhost", "/", nil)
	answer, body := ask(t, gateway, http.MethodPost, "a.localhost", "/", strings.NewReader("x"))
	wantProblem(t, answer, body, http.StatusBadGateway, "bad_answer")
	if requests.Load() != 2 {
		t.Errorf("%d requests arrived, want 2", requests.Load())
	}
	requests.Store(0)
	answer, body = ask(t, gateway, http.MethodGet, "a.localhost", "/", nil)
	wantProblem(t, answer, body, http.StatusBadGateway, "bad_answer")
	if requests.Load() > 2 {
		t.Errorf("a request that kills its endpoint was sent %d times", requests.Load())
	}
}

// TestForwarderAsksAnotherEndpointWhenOneIsBeingStopped: a server that shuts down may drop a connection that it has just
// taken.
func TestForwarderAsksAnotherEndpointWhenOneIsBeingStopped(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	var dropped atomic.Int32
	drops := rawBackend(t, func(_ int, _ net.Conn, in *bufio.Reader) {
		if next(in) {
			dropped.Add(1)
		}
	})
	answers := rawBackend(t, func(_ int, conn net.Conn, in *bufio.Reader) {
		for next(in) {
			fmt.Fprint(conn, okAnswer)
		}
	})
	routes.apply(appService("a", "default", drops, answers))
	for range 6 {
		if answer, body := ask(t, gateway, http.MethodGet, "a.localhost", "/", nil); body != "ok" {
			t.Fatalf("%s %q", answer.Status, body)
		}
	}
	if dropped.Load() == 0 {
		t.Fatal("the endpoint that drops was not asked")
	}
	failed := 0
	for range 4 { // it may have been done there
		if answer, _ := ask(t, gateway, http.MethodPost, "a.localhost", "/", strings.NewReader("x")); answer.StatusCode == http.StatusBadGateway {
			failed++
		}
	}
	if failed == 0 {
		t.Error("a POST was sent twice")
	}
}

func TestForwarderRefusesWhatIsNoAnswer(t *testing.T) {
	for name, raw := range map[string]string{
		"nonsense":          "hello\r\n\r\n",
		"an endless header": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxAnswerHeader+1),
		"another protocol":  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"silence":           "",
	} {
		t.Run(name, func(t *testing.T) {
			routes := newRoutes(newLeavers())
			gateway := testGateway(t, routes)
			routes.apply(appService("a", "default", rawBackend(t, func(_ int, conn net.Conn, in *bufio.Reader) {
				if next(in) {
					fmt.Fprint(conn, raw)
				}
			})))
			answer, body := ask(t, gateway, http.MethodGet, "a.localhost", "/", nil)
			wantProblem(t, answer, body, http.StatusBadGateway, "bad_answer")
		})
	}
}

func TestForwarderBreaksOffWithItsEndpoint(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	routes.apply(appService("a", "default", rawBackend(t, func(_ int, conn net.Conn, in *bufio.Reader) {
		if next(in) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
		}
	})))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gateway+"/", nil)
	req.Host = "a.localhost"
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return // broken off before anything was flushed
	}
	defer answer.Body.Close()
	if _, err := io.ReadAll(answer.Body); err == nil {
		t.Error("half an answer was passed on as a whole one")
	}
}

func TestHintsAreSkipped(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	routes.apply(appService("a", "default", rawBackend(t, func(_ int, conn net.Conn, in *bufio.Reader) {
		if next(in) {
			fmt.Fprint(conn, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+okAnswer)
		}
	})))
	if answer, body := ask(t, gateway, http.MethodGet, "a.localhost", "/", nil); answer.StatusCode != http.StatusOK || body != "ok" {
		t.Errorf("%s %q", answer.Status, body)
	}
}

func TestIdleConnectionsAreSwept(t *testing.T) {
	p := newUpstreams()
	backend := tcpBackend(t, "x")
	var all []*upstream
	for range idlePerEndpoint + 1 {
		u, err := p.dial(t.Context(), backend.Addr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	for _, u := range all {
		p.put(u)
	}
	if n := len(p.idle[backend.Addr]); n != idlePerEndpoint {
		t.Errorf("%d are kept, want %d", n, idlePerEndpoint)
	}
	p.idle[backend.Addr][0].idle = time.Now().Add(-2 * backendIdle)
	p.sweep(time.Now(), false)
	if n := len(p.idle[backend.Addr]); n != idlePerEndpoint-1 {
		t.Errorf("%d are kept after a sweep, want one less", n)
	}
	if u := p.take(backend.Addr); u == nil || u.alive() { // it greets unasked
		eventually(t, "the greeting to be noticed", func() bool { return u != nil && !u.alive() })
	}
	p.sweep(time.Now(), true)
	if len(p.idle) != 0 {
		t.Errorf("left at the end: %v", p.idle)
	}
}
