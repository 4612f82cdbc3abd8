package service

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// httpBackend is an endpoint that serves handler.
func httpBackend(t *testing.T, pod string, handler http.HandlerFunc) Backend {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return Backend{Addr: netip.MustParseAddrPort(strings.TrimPrefix(server.URL, "http://")), Pod: pod}
}

func appService(name, namespace string, backends ...Backend) Service {
	return Service{Namespace: namespace, Name: name, App: name, Ports: []Port{{Protocol: "TCP", Port: 80, Backends: backends}}}
}

// testGateway serves the routes and returns its address.
func testGateway(t *testing.T, routes *routes) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	g := newGateway(routes, discard)
	go func() { done <- g.serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// ask makes one request of the gateway.
func ask(t *testing.T, gateway, method, host, path string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+gateway+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(content)
}

func TestGatewayFindsAppsByHost(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	name := func(n string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n) }
	}
	routes.apply(appService("hello", "default", httpBackend(t, "p", name("default's"))))
	routes.apply(appService("hello", "team", httpBackend(t, "p", name("team's"))))
	plain := appService("db", "default", httpBackend(t, "p", name("db")))
	plain.App = "" // a Service that is no app
	routes.apply(plain)
	for host, want := range map[string]string{
		"hello.localhost": "default's", "hello.localhost:8081": "default's", "HELLO.LocalHost.": "default's",
		"hello.default.localhost": "default's", "hello.team.localhost:1": "team's",
		"db.localhost": "", "hello.none.localhost": "", "localhost": "", "127.0.0.1:8081": "", "[::1]:8081": "", "hello.example": "", ".localhost": "",
	} {
		answer, body := ask(t, gateway, http.MethodGet, host, "/", nil)
		if want != "" && body != want {
			t.Errorf("%s: %s %q, want %q", host, answer.Status, body, want)
		}
		if want == "" {
			wantProblem(t, answer, body, http.StatusNotFound, "unknown_host")
		}
	}
	routes.drop(key("hello").NamespacedName)
	answer, body := ask(t, gateway, http.MethodGet, "hello.localhost", "/", nil)
	wantProblem(t, answer, body, http.StatusNotFound, "unknown_host")
}

func wantProblem(t *testing.T, answer *http.Response, body string, status int, code string) {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || answer.StatusCode != status || p.Status != status || p.Code != code ||
		p.Detail == "" || p.Fix == "" || answer.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %q (%v), want problem %d %s", answer.Status, body, err, status, code)
	}
}

func TestGatewayPassesRequestsOn(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	routes.apply(appService("echo", "default", httpBackend(t, "pod-1", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", strings.Join([]string{r.Method, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Connection-Own")}, " "))
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	})))
	answer, body := ask(t, gateway, http.MethodPost, "echo.localhost:8081", "/a%2Fb?q=1&q=2", strings.NewReader("payload"),
		"X-Forwarded-For", "6.6.6.6", "Connection", "Connection-Own", "Connection-Own", "hop")
	if answer.StatusCode != http.StatusTeapot || body != "payload" {
		t.Errorf("%s %q", answer.Status, body)
	}
	if got, want := answer.Header.Get("X-Seen"), "POST /a%2Fb?q=1&q=2 echo.localhost:8081 127.0.0.1 echo.localhost:8081 http"; got != want {
		t.Errorf("the app saw %q, want %q", got, want)
	}
	if answer.Header.Get(podHeader) != "" {
		t.Error("the pod's name was told to a client that did not ask")
	}
	answer, _ = ask(t, gateway, http.MethodGet, "echo.localhost", "/", nil, probeHeader, "1")
	if got := answer.Header.Get(podHeader); got != "pod-1" {
		t.Errorf("pod = %q", got)
	}
	big := strings.Repeat("0123456789", 1<<20)
	if _, body := ask(t, gateway, http.MethodPut, "echo.localhost", "/", strings.NewReader(big)); body != big {
		t.Errorf("10 MiB came back as %d bytes", len(body))
	}
}

func TestGatewayStreams(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	next := make(chan string)
	routes.apply(appService("s", "default", httpBackend(t, "p", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for line := range next {
			fmt.Fprintln(w, line)
			w.(http.Flusher).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"X-End", "yes")
	})))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gateway+"/", nil)
	req.Host = "s.localhost"
	go func() { next <- "one" }()
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	reader := bufio.NewReader(answer.Body)
	for _, want := range []string{"one\n", "two\n"} {
		if got, err := reader.ReadString('\n'); got != want {
			t.Fatalf("line %q, %v", got, err)
		}
		if want == "one\n" {
			next <- "two"
		}
	}
	close(next)
	if _, err := io.ReadAll(reader); err != nil || answer.Trailer.Get("X-End") != "yes" {
		t.Errorf("end: %v, trailer %v", err, answer.Trailer)
	}
}

func TestGatewayUpgrades(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	routes.apply(appService("ws", "default", httpBackend(t, "p", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n", r.Header.Get("Upgrade"))
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(conn, "echo %s", line)
	})))
	conn, err := net.Dial("tcp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: ws.localhost\r\nUpgrade: test\r\nConnection: Upgrade\r\n\r\n")
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer = %v, %v", answer, err)
	}
	fmt.Fprint(conn, "hi\n")
	if line, err := reader.ReadString('\n'); line != "echo hi\n" {
		t.Errorf("line = %q, %v", line, err)
	}
}

func TestGatewayTriesAnotherEndpoint(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	dead := Backend{Addr: vip(t)}
	var hits atomic.Int32
	alive := httpBackend(t, "p", func(w http.ResponseWriter, _ *http.Request) { hits.Add(1) })
	routes.apply(appService("a", "default", dead, alive))
	for range 6 {
		if answer, body := ask(t, gateway, http.MethodGet, "a.localhost", "/", nil); answer.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", answer.Status, body)
		}
	}
	if hits.Load() != 6 {
		t.Errorf("%d requests arrived, want 6", hits.Load())
	}
	for range 4 { // nothing of it was sent to the dead one
		if answer, body := ask(t, gateway, http.MethodPost, "a.localhost", "/", strings.NewReader("x")); answer.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", answer.Status, body)
		}
	}
	failed := 0
	for range 4 { // a body that is streamed cannot be sent twice
		answer, body := ask(t, gateway, http.MethodPost, "a.localhost", "/", strings.NewReader(strings.Repeat("x", maxSmallBody+1)))
		if answer.StatusCode != http.StatusOK {
			failed++
			wantProblem(t, answer, body, http.StatusBadGateway, "bad_answer")
		}
	}
	if failed == 0 {
		t.Error("every POST arrived though one endpoint is dead")
	}
}

func TestGatewayHoldsRequestsForAnAppThatComes(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	routes.apply(appService("a", "default"))
	backend := httpBackend(t, "p", func(http.ResponseWriter, *http.Request) {})
	time.AfterFunc(200*time.Millisecond, func() { routes.apply(appService("a", "default", backend)) })
	if answer, body := ask(t, gateway, http.MethodGet, "a.localhost", "/", nil); answer.StatusCode != http.StatusOK {
		t.Errorf("%s %s", answer.Status, body)
	}
	routes.apply(appService("a", "default"))
	start := time.Now()
	answer, body := ask(t, gateway, http.MethodGet, "a.localhost", "/", nil)
	wantProblem(t, answer, body, http.StatusServiceUnavailable, "no_endpoint")
	if answer.Header.Get("Retry-After") == "" || time.Since(start) < holdTimeout {
		t.Errorf("Retry-After %q after %v", answer.Header.Get("Retry-After"), time.Since(start))
	}
	routes.held.Store(maxHeld) // nobody else may wait
	start = time.Now()
	answer, body = ask(t, gateway, http.MethodGet, "a.localhost", "/", nil)
	wantProblem(t, answer, body, http.StatusServiceUnavailable, "no_endpoint")
	if time.Since(start) >= holdTimeout {
		t.Error("more requests are held than may be")
	}
	routes.held.Store(0)
	time.AfterFunc(100*time.Millisecond, func() { routes.drop(key("a").NamespacedName) })
	start = time.Now()
	ask(t, gateway, http.MethodGet, "a.localhost", "/", nil)
	if time.Since(start) >= holdTimeout {
		t.Error("a request waits for an app that was removed")
	}
}

// TestGatewayWaitsForARestart: the only endpoint refuses for a moment, as a container that crashed does.
func TestGatewayWaitsForARestart(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	at := vip(t)
	routes.apply(appService("a", "default", Backend{Addr: at}))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "back") }), ReadHeaderTimeout: patience}
	t.Cleanup(func() { server.Close() })
	time.AfterFunc(250*time.Millisecond, func() {
		listener, err := net.Listen("tcp", at.String())
		if err != nil {
			t.Error(err)
			return
		}
		go func() { _ = server.Serve(listener) }()
	})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if answer, body := ask(t, gateway, method, "a.localhost", "/", strings.NewReader("x")); body != "back" {
			t.Errorf("%s: %s %q", method, answer.Status, body)
		}
	}
}

// TestGatewayFindsTheLastOfMany: the API names endpoints for a while that have gone all but one.
func TestGatewayFindsTheLastOfMany(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	backends := []Backend{httpBackend(t, "p", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "last") })}
	for range maxDials - 1 {
		backends = append(backends, Backend{Addr: vip(t)})
	}
	routes.apply(appService("a", "default", backends...))
	for range 2 * maxDials {
		if answer, body := ask(t, gateway, http.MethodPost, "a.localhost", "/", strings.NewReader("x")); body != "last" {
			t.Fatalf("%s %q", answer.Status, body)
		}
	}
}

func TestGatewayTellsTheAppThatTheClientHasGone(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	begun, ended := make(chan struct{}), make(chan struct{})
	routes.apply(appService("a", "default", httpBackend(t, "p", func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	})))
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+gateway+"/", nil)
	req.Host = "a.localhost"
	go func() {
		<-begun
		cancel()
	}()
	if _, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req); err == nil {
		t.Error("no error")
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the app was not told")
	}
}

func TestGatewayReportsABrokenAnswer(t *testing.T) {
	routes := newRoutes(newLeavers())
	gateway := testGateway(t, routes)
	routes.apply(appService("a", "default", httpBackend(t, "p", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })))
	answer, body := ask(t, gateway, http.MethodPost, "a.localhost", "/", strings.NewReader("x"))
	wantProblem(t, answer, body, http.StatusBadGateway, "bad_answer")
}
