package runner

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// pair is both ends of a source: one for us to answer over, one to hand over.
func pair(t *testing.T) (*net.UnixConn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "ours")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { _, _ = conn.Close(), theirs.Close() })
	return conn.(*net.UnixConn), theirs
}

// serveSockets answers with an errno, or with a socket where that is 0, until the other end goes.
func serveSockets(t *testing.T, conn *net.UnixConn, errno unix.Errno) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 3)
		for {
			if n, err := conn.Read(buf); err != nil || n == 0 {
				return
			}
			if errno != 0 {
				_, _ = conn.Write([]byte{byte(errno)})
				continue
			}
			fd, err := unix.Socket(int(buf[0]), int(buf[1])|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Error(err)
				return
			}
			_, _, err = conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fd), nil)
			_ = unix.Close(fd)
			if err != nil {
				return
			}
		}
	}()
	return done
}

func TestSourceWaitsForItsSupervisor(t *testing.T) {
	s := newSource()
	defer s.close()
	ask := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		f, err := s.socket(ctx, unix.AF_INET, unix.SOCK_STREAM)
		if err == nil {
			err = f.Close()
		}
		return err
	}
	use := func(file *os.File) {
		t.Helper()
		if err := errors.Join(s.use(file), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(10 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before there is a supervisor: %v", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- ask(20 * time.Second) }()
	first, theirs := pair(t)
	ended := serveSockets(t, first, 0)
	use(theirs)
	if err := errors.Join(<-waiting, ask(20*time.Second)); err != nil {
		t.Error(err)
	}
	_ = first.Close() // it is killed
	<-ended
	if err := ask(10 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a supervisor: %v", err)
	}
	go func() { waiting <- ask(20 * time.Second) }()
	second, theirs := pair(t)
	ended = serveSockets(t, second, unix.EMFILE)
	use(theirs)
	if err := <-waiting; !errors.Is(err, unix.EMFILE) {
		t.Errorf("the supervisor cannot: %v", err)
	}
	third, theirs := pair(t)
	_ = serveSockets(t, third, 0)
	use(theirs)
	<-ended // the one before is let go
	if err := ask(20 * time.Second); err != nil {
		t.Error(err)
	}
	s.close()
	if err := ask(20 * time.Second); !errors.Is(err, errNoSource) {
		t.Errorf("after its end: %v", err)
	}
	file, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := newSource().use(file); err == nil {
		t.Error("a directory is a source")
	}
}

// TestElsewhere: a container in another network listens at what it is given, and nowhere else.
func TestElsewhere(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	p := w.params(wasmtest.Serve("hello", "", 0))
	p.Elsewhere, p.Address, p.Egress = true, "", []string{"tcp:127.0.0.1:80"}
	w.must(control.MethodCreate, p)
	if err := w.Call(t.Context(), control.MethodStart, control.StartParams{ID: p.ID, Listeners: 1}, nil); err == nil {
		t.Error("it started without the listener that was announced")
	}
	_, theirs := pair(t)
	if _, err := w.Exchange(t.Context(), control.MethodSource, control.Target{ID: p.ID}, []*os.File{theirs}, nil); err != nil {
		t.Error(err)
	}
	if err := w.Call(t.Context(), control.MethodSource, control.Target{ID: p.ID}, nil); err == nil {
		t.Error("a source without a descriptor")
	}
	_, err = w.Exchange(t.Context(), control.MethodStart, control.StartParams{ID: p.ID, Listeners: 1}, []*os.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Address, p.Ports = at.Addr().String(), []uint16{at.Port()}
	for range 2 {
		if _, body, err := get(t.Context(), url(p)); err != nil || body != "hello" {
			t.Errorf("%q, %v", body, err)
		}
	}
	w.must(control.MethodStop, control.StopParams{ID: p.ID, Grace: time.Second})

	refused := w.params(wasmtest.Serve("hello", "", 0))
	refused.Elsewhere = true
	w.must(control.MethodCreate, refused)
	_, err = w.do(control.MethodStart, control.StartParams{ID: refused.ID, Refused: "the port is taken"})
	wantCode(t, err, control.CodeStart)
	if s := w.exit(refused.ID); s.Reason != control.ReasonStartError || s.Message != "the port is taken" {
		t.Errorf("exited: %+v", s)
	}
	short := w.params(wasmtest.Serve("hello", "", 0))
	short.Elsewhere = true
	w.must(control.MethodCreate, short)
	_, err = w.do(control.MethodStart, control.StartParams{ID: short.ID})
	wantCode(t, err, control.CodeStart)
}
