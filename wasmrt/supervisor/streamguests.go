package supervisor

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

const (
	// podDialTimeout bounds connecting to a pod's port: its address is this machine's.
	podDialTimeout = 5 * time.Second
	// maxSilence is how long a pod may say nothing on a forwarded connection whose client sends no more.
	maxSilence = time.Minute
)

// guestStreams is what the stream server asks for its streams' other ends.
type guestStreams struct{ s *Supervisor }

// Exec implements streaming.Runtime.
func (g guestStreams) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	result, err := g.s.exec(ctx, id, control.ExecParams{Args: cmd}, in, writer(out), writer(errs))
	if err != nil {
		return err
	}
	return exitOf(result)
}

// Attach implements streaming.Runtime.
func (g guestStreams) Attach(ctx context.Context, id string, in io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	return g.s.attachTo(ctx, id, in, writer(out), writer(errs))
}

// writer keeps a stream that is not there from looking like one that is.
func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// PortForward implements streaming.Runtime: it carries one connection.
func (g guestStreams) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	if port < 1 || port > math.MaxUint16 {
		return status.Errorf(codes.InvalidArgument, "port %d is none", port)
	}
	dialing, cancel := context.WithTimeout(ctx, podDialTimeout)
	defer cancel()
	dialed, err := g.s.dialPod(dialing, id, uint16(port))
	if err != nil {
		return err
	}
	conn := &podConn{TCPConn: dialed.(*net.TCPConn)}
	defer conn.Close()
	go func() { // ends when stream does, which is when this function has
		_, _ = io.Copy(conn.TCPConn, stream)
		conn.finish()
	}()
	_, err = io.Copy(stream, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// podConn is a connection to a pod. A client that is done sending may still wait for an answer, or may be gone: that looks
// the same, so that silence ends the connection from then on.
type podConn struct {
	*net.TCPConn
	done atomic.Bool
}

func (c *podConn) finish() {
	c.done.Store(true)
	_ = c.CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(maxSilence))
}

// Read implements net.Conn.
func (c *podConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.done.Load() {
		_ = c.SetReadDeadline(time.Now().Add(maxSilence))
	}
	return n, err
}

// WriteTo would read past Read.
func (c *podConn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c})
}
