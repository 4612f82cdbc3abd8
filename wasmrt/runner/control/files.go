package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// MaxFiles bounds the descriptors that travel with one frame: a container's listeners, and one more.
const MaxFiles = MaxPorts + 1

// maxWaitingFiles bounds those that have arrived and whose frames have not been read: a peer that sends more breaks the
// protocol.
const maxWaitingFiles = 2 * MaxFiles

// Carrier is the result of a method that hands descriptors over. They are closed once they are on their way.
type Carrier interface {
	Carry() []*os.File
}

// received are a request's descriptors.
type received struct {
	mu    sync.Mutex
	files []*os.File
}

type receivedKey struct{}

// TakeFiles answers the descriptors that came with the request whose context it is, which are the caller's then. What
// nobody takes is closed with the request's answer.
func TakeFiles(ctx context.Context) []*os.File {
	r, ok := ctx.Value(receivedKey{}).(*received)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	files := r.files
	r.files = nil
	return files
}

// CloseFiles closes all of them.
func CloseFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// fileReader reads a connection and keeps the descriptors that come with its bytes, in order. Where the connection is no unix
// socket, none come.
type fileReader struct {
	conn    net.Conn
	oob     []byte
	waiting []*os.File
}

func newFileReader(conn net.Conn) *fileReader {
	return &fileReader{conn: conn, oob: make([]byte, unix.CmsgSpace(4*MaxFiles))}
}

// Read implements io.Reader. One goroutine at a time may call it, and the others of fileReader.
func (r *fileReader) Read(p []byte) (int, error) {
	c, ok := r.conn.(*net.UnixConn)
	if !ok || len(p) == 0 {
		return r.conn.Read(p)
	}
	n, oobn, flags, _, err := c.ReadMsgUnix(p, r.oob)
	if err != nil {
		return 0, err
	}
	if oobn > 0 {
		err = r.keep(r.oob[:oobn])
	}
	if flags&unix.MSG_CTRUNC != 0 {
		err = errors.Join(err, errors.New("read frame: too many files come with it"))
	}
	return n, err
}

func (r *fileReader) keep(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("read frame's files: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // it carries none
		}
		for _, fd := range fds {
			r.waiting = append(r.waiting, os.NewFile(uintptr(fd), "received"))
		}
	}
	if len(r.waiting) > maxWaitingFiles {
		return fmt.Errorf("read frame: %d files wait for their frames", len(r.waiting))
	}
	return nil
}

// take answers the next n descriptors: those of the frame that was just read.
func (r *fileReader) take(n int) ([]*os.File, error) {
	if n < 0 || n > MaxFiles || n > len(r.waiting) {
		return nil, fmt.Errorf("read frame: %d files were announced and %d came", n, len(r.waiting))
	}
	files := r.waiting[:n:n]
	r.waiting = r.waiting[n:]
	return files, nil
}

// close closes what nobody took.
func (r *fileReader) close() {
	CloseFiles(r.waiting)
	r.waiting = nil
}

// writeFrame writes an encoded frame, with the descriptors at its first bytes: they arrive before its end.
func writeFrame(conn net.Conn, buf []byte, files []*os.File) error {
	if len(files) > 0 {
		c, ok := conn.(*net.UnixConn)
		if !ok {
			return errors.New("files travel over unix sockets alone")
		}
		fds, err := numbers(files)
		if err != nil {
			return err
		}
		n, _, err := c.WriteMsgUnix(buf[:frameHeader], unix.UnixRights(fds...), nil)
		runtime.KeepAlive(files)
		if err != nil {
			return err
		}
		buf = buf[n:]
	}
	_, err := conn.Write(buf)
	return err
}

// numbers are the files' descriptors. Fd would make them blocking, and with them those of who listens with the same socket.
func numbers(files []*os.File) ([]int, error) {
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return nil, err
		}
	}
	return fds, nil
}
