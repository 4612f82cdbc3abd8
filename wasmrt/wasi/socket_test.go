package wasi

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dialTo(t *testing.T, l net.Listener) *net.TCPConn {
	t.Helper()
	k, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	if err := k.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return k.(*net.TCPConn)
}

func TestAccept(t *testing.T) {
	l := listen(t)
	w := newWorld(t, Config{Listeners: []net.Listener{l}})
	env := strings.Join(w.texts("environ_sizes_get", "environ_get"), " ")
	if env != "LISTEN_FDS=1 PETREL_LISTEN_FD=3" {
		t.Errorf("environment %q", env)
	}
	w.want("fd_prestat_get", 0, 3, atResult)
	if w.mem[atResult] == 0 {
		t.Error("a listener says it is a directory")
	}
	w.want("fd_prestat_get", 0, 4, atResult)
	w.want("fd_fdstat_get", 0, 3, atBuffer)
	if kind := fileType(w.mem[atBuffer]); kind != typeStream {
		t.Errorf("a listener is a %d", kind)
	}
	w.want("fd_fdstat_set_flags", 0, 3, int(flagNonblock))
	w.want("sock_accept", ErrnoAgain, 3, 0, atResult)
	w.want("sock_accept", ErrnoNotSock, 0, 0, atResult)
	w.want("sock_accept", ErrnoBadf, 9, 0, atResult)
	w.want("sock_recv", ErrnoNotConn, 3, atVector, 1, 0, atResult, atResult+4)

	w.want("fd_fdstat_set_flags", 0, 3, 0)
	clients := make(chan *net.TCPConn, 1)
	go func() {
		time.Sleep(20 * time.Millisecond)
		client := dialTo(t, l)
		_, _ = client.Write([]byte("hello"))
		clients <- client
	}()
	w.want("sock_accept", 0, 3, int(flagNonblock), atResult)
	fd := w.result()
	client := <-clients
	if e := w.only(0, sub{eventFdRead, fd, 0, 0}, sub{eventClock, 1, time.Hour, 0}); e.bytes != 5 {
		t.Errorf("%d bytes are there", e.bytes)
	}
	w.only(1, sub{eventFdRead, 3, 0, 0}, sub{eventFdWrite, fd, 0, 0})

	w.vector(atBuffer, 3)
	w.want("sock_recv", 0, fd, atVector, 1, recvPeek, atResult, atResult+4)
	if got := string(w.mem[atBuffer:][:w.result()]); got != "hel" {
		t.Errorf("peeked %q", got)
	}
	w.want("sock_recv", 0, fd, atVector, 1, 0, atResult, atResult+4)
	if text, errno := w.read(fd, 10); text != "lo" || errno != 0 {
		t.Errorf("read %q, %d", text, errno)
	}
	if _, errno := w.read(fd, 10); errno != ErrnoAgain {
		t.Errorf("nothing more: %d", errno)
	}
	copy(w.mem[atBuffer:], "answer")
	w.vector(atBuffer, 6)
	w.want("sock_send", 0, fd, atVector, 1, 0, atResult)
	w.want("sock_send", ErrnoInval, fd, atVector, 1, 1, atResult)
	w.want("sock_shutdown", ErrnoInval, fd, 7)
	w.want("sock_shutdown", 0, fd, shutWrite)
	if b, err := io.ReadAll(client); string(b) != "answer" || err != nil {
		t.Errorf("the client got %q, %v", b, err)
	}
	_ = client.Close()
	e := w.only(0, sub{eventFdRead, fd, 0, 0}, sub{eventClock, 1, time.Hour, 0})
	if e.flags != eventHangup {
		t.Errorf("no hangup is told: %+v", e)
	}
	w.want("net.address", 0, 3, 0, atBuffer, 100, atResult)
	if got := string(w.mem[atBuffer:][:w.result()]); got != l.Addr().String() {
		t.Errorf("the address is %q", got)
	}
	open := hostFiles(t)
	if !w.Reset() || w.OpenFiles() != 0 || hostFiles(t) >= open {
		t.Error("a reset leaves the connection open")
	}
	dialTo(t, l)
	w.want("sock_accept", 0, 3, 0, atResult)
}

// Whoever stops a server shuts its socket down: a guest that waits to accept is told.
func TestListenerIsShutDown(t *testing.T) {
	l := listen(t)
	w := newWorld(t, Config{Listeners: []net.Listener{l}})
	stop := func() {
		time.Sleep(20 * time.Millisecond)
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
		}
		if err != nil {
			t.Error(err)
		}
	}
	go stop()
	w.want("sock_accept", ErrnoInval, 3, 0, atResult)
	w.only(0, sub{eventFdRead, 3, 0, 0}, sub{eventClock, 1, 20 * time.Second, 0})
}

// More than the kernel keeps goes both ways, with and without blocking.
func TestLargeTransfers(t *testing.T) {
	l := listen(t)
	w := newWorld(t, Config{Listeners: []net.Listener{l}})
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	client := dialTo(t, l)
	go func() {
		_, _ = io.Copy(client, client) // an echo
		_ = client.CloseWrite()
	}()
	w.want("sock_accept", 0, 3, int(flagNonblock), atResult)
	fd := w.result()
	sent, got := 0, []byte(nil)
	for len(got) < len(payload) {
		subs := []sub{{eventFdRead, fd, 0, 0}, {eventClock, 1, 20 * time.Second, 0}}
		if sent < len(payload) {
			subs = append(subs, sub{eventFdWrite, fd, 0, 0})
		}
		events, errno := w.poll(subs...)
		if errno != 0 || len(events) == 0 {
			t.Fatalf("poll: %+v, %d", events, errno)
		}
		for _, e := range events {
			switch e.kind {
			case eventFdWrite:
				n, errno := w.write(fd, string(payload[sent:min(len(payload), sent+500_000)]))
				if errno != 0 {
					t.Fatalf("write: %d", errno)
				}
				sent += n
			case eventFdRead:
				text, errno := w.read(fd, 500_000)
				if errno != 0 || text == "" {
					t.Fatalf("read: %q, %d", text, errno)
				}
				got = append(got, text...)
			default:
				t.Fatal("nothing moves")
			}
		}
	}
	if !bytes.Equal(got, payload) {
		t.Error("what came back is something else")
	}
	// Blocking: the write returns when all is sent, and WAITALL when all is there.
	w.want("fd_fdstat_set_flags", 0, fd, 0)
	if n, errno := w.write(fd, string(payload[:700_000])); n != 700_000 || errno != 0 {
		t.Fatalf("a blocking write: %d, %d", n, errno)
	}
	w.vector(atBuffer, 700_000)
	w.want("sock_recv", 0, fd, atVector, 1, recvWaitAll, atResult, atResult+4)
	if w.result() != 700_000 {
		t.Errorf("WAITALL got %d", w.result())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	w.h.ctx = ctx
	if _, errno := w.read(fd, 1); errno != ErrnoIntr {
		t.Errorf("a read beyond the end of the context: %d", errno)
	}
	w.h.ctx = t.Context()
}

func TestBrokenConnections(t *testing.T) {
	l := listen(t)
	w := newWorld(t, Config{Listeners: []net.Listener{l}})
	client := dialTo(t, l)
	w.want("sock_accept", 0, 3, 0, atResult)
	fd := w.result()
	_ = client.SetLinger(0)
	_ = client.Close()
	w.only(0, sub{eventFdRead, fd, 0, 0})
	if _, errno := w.read(fd, 1); errno != ErrnoConnReset {
		t.Errorf("a reset connection: %d", errno)
	}
	if _, errno := w.write(fd, "x"); errno != ErrnoPipe { // and no signal ends the process
		t.Errorf("writing to it: %d", errno)
	}
}
