package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func patience(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// ended says whether the server closes the connection without another byte.
func ended(c net.Conn) bool {
	n, err := c.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, io.EOF)
}

// Who waits for a request's context is told when the client goes, and so is who only asks, after a while.
func TestClientGoes(t *testing.T) {
	ways := map[string]func(ctx context.Context){
		"Done": func(ctx context.Context) { <-ctx.Done() },
		"AfterFunc": func(ctx context.Context) {
			done := make(chan struct{})
			context.AfterFunc(ctx, func() { close(done) })
			<-done
		},
		"Err": func(ctx context.Context) {
			for ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		},
		"child": func(ctx context.Context) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			<-ctx.Done()
		},
	}
	for name, wait := range ways {
		t.Run(name, func(t *testing.T) {
			inside, done := make(chan struct{}), make(chan error, 1)
			s := startFront(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(inside)
				if err := r.Context().Err(); err != nil {
					t.Errorf("it has ended at once: %v", err)
				}
				wait(r.Context())
				done <- r.Context().Err()
			}), nil)
			c := dial(t, s.addr)
			_, _ = io.WriteString(c, get)
			<-inside
			time.Sleep(2 * watchAfter)
			_ = c.Close()
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			case <-time.After(60 * time.Second):
				t.Fatal("nobody was told")
			}
		})
	}
}

// A connection that was watched serves the next request, also one whose first bytes the watcher has read.
func TestWatchedConnectionServesOn(t *testing.T) {
	var kept context.Context
	s := startFront(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		kept = r.Context()
		select {
		case <-r.Context().Done():
			t.Error("the client has not gone")
		case <-time.After(10 * time.Millisecond):
		}
	}), nil)
	c := dial(t, s.addr)
	r := bufio.NewReader(c)
	for i := range 20 {
		_, _ = io.WriteString(c, get[:5*(i%3)])
		if i%3 != 0 {
			time.Sleep(time.Millisecond)
		}
		_, _ = io.WriteString(c, get[5*(i%3):]+strings.Repeat(get, i%2))
		for range 1 + i%2 {
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("round %d: %v %v", i, resp, err)
			}
		}
		if kept.Err() == nil { // it is the last one's: the next has not been sent
			t.Error("the context outlives its request")
		}
	}
}

// Deadlines that a handler sets are not there for the next request.
func TestDeadlinesAreTheRequests(t *testing.T) {
	s := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.SetReadDeadline(time.Unix(1, 0)), rc.EnableFullDuplex(), rc.SetWriteDeadline(time.Now().Add(500*time.Millisecond))); err != nil {
			t.Error(err)
		}
	}), nil)
	c := dial(t, s.addr)
	r := bufio.NewReader(c)
	for range 3 {
		_, _ = io.WriteString(c, get)
		if _, err := http.ReadResponse(r, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(600 * time.Millisecond)
	}
}

// Connections that say nothing, or begin a head and do not end it, are closed.
func TestIdleConnectionsAreClosed(t *testing.T) {
	s := startFront(t, everything(), func(s *Server) {
		s.every, s.cfg.ReadHeaderTimeout, s.cfg.IdleTimeout = 10*time.Millisecond, time.Second, 1500*time.Millisecond
	})
	silent, slow, used := dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)
	begun := time.Now()
	_, _ = io.WriteString(slow, get[:10])
	_, _ = io.WriteString(used, get)
	r := bufio.NewReader(used)
	if resp, err := http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if !ended(silent) || !ended(slow) {
		t.Error("a connection without a request gave something")
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) || time.Since(begun) < 1400*time.Millisecond {
		t.Errorf("%d %v after %s", n, err, time.Since(begun))
	}
}

// A drain lets what runs finish, closes behind it, and takes the first request of a connection that was just accepted.
func TestShutdown(t *testing.T) {
	inside, goOn := make(chan struct{}, 4), make(chan struct{})
	s := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			inside <- struct{}{}
			<-goOn
		}
		_, _ = io.WriteString(w, "whole")
	}), nil)
	idleOne, plainOne, givenOne, freshOne, givenLate := dial(t, s.addr), dial(t, s.addr), dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)
	_, _ = io.WriteString(idleOne, get)
	idleReader := bufio.NewReader(idleOne)
	if resp, err := http.ReadResponse(idleReader, nil); err != nil || resp.Close {
		t.Fatal(resp, err)
	} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(plainOne, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	_, _ = io.WriteString(givenOne, "GET /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	<-inside
	<-inside
	patience(t, "five connections", func() bool { return s.conns.Load() == 5 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.front.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a drain that was cut short: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- s.front.Shutdown(t.Context()) }()
	if _, err := idleReader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle connection: %v", err)
	}
	_, _ = io.WriteString(freshOne, get)
	_, _ = io.WriteString(givenLate, "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	close(goOn)
	for name, c := range map[string]net.Conn{"plain": plainOne, "given": givenOne, "fresh": freshOne, "given late": givenLate} {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || !resp.Close {
			t.Fatalf("%s: %v %v", name, resp, err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "whole" {
			t.Errorf("%s: %q %v", name, body, err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	patience(t, "the last connection", func() bool { return s.conns.Load() == 0 })
}

// Close cuts everything, and what comes after it.
func TestClose(t *testing.T) {
	inside := make(chan struct{}, 2)
	s := startFront(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // before that, net/http does not look whether the client is there
		inside <- struct{}{}
		<-r.Context().Done()
	}), nil)
	a, b, c := dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)
	_, _ = io.WriteString(a, get)
	_, _ = io.WriteString(b, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	<-inside
	<-inside
	for range 2 {
		if err := s.front.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, conn := range []net.Conn{a, b, c} {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a connection lives on")
		}
	}
	if err := s.front.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// A handler that panics for no reason of its own loses its connection and nobody else's.
func TestPanic(t *testing.T) {
	s := startFront(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("a defect")
		}
	}), nil)
	c := dial(t, s.addr)
	_, _ = io.WriteString(c, "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n")
	if !ended(c) {
		t.Error("the connection goes on")
	}
	if got := converse(t, s.addr, get, 1); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Error(got)
	}
}

// One connection never gets bytes of another's answer, whatever happens to buffers meanwhile.
func TestAnswersAreNotMixed(t *testing.T) {
	s := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat(r.URL.Path[1:], 50))
		if r.URL.RawQuery == "cut" {
			panic(http.ErrAbortHandler)
		}
	}), nil)
	done := make(chan string)
	for i := range 8 {
		go func() {
			name := strings.Repeat(string(rune('a'+i)), 20)
			request := "GET /" + name + " HTTP/1.1\r\nHost: a\r\n\r\n"
			got := ""
			for round := range 50 {
				if round%10 == 0 {
					c, err := net.Dial("tcp", s.addr)
					if err == nil {
						_, _ = io.WriteString(c, strings.Replace(request, " HTTP", "?cut HTTP", 1))
						_, _ = io.Copy(io.Discard, c)
						_ = c.Close()
					}
				}
				c, err := net.Dial("tcp", s.addr)
				if err != nil {
					got = err.Error()
					break
				}
				_, _ = io.WriteString(c, request+request)
				r := bufio.NewReader(c)
				for range 2 {
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						got = err.Error()
						break
					}
					if body, _ := io.ReadAll(resp.Body); string(body) != strings.Repeat(name, 50) {
						got = string(body)
					}
				}
				_ = c.Close()
			}
			done <- got
		}()
	}
	for range 8 {
		if got := <-done; got != "" {
			t.Errorf("got %q", got)
		}
	}
}
