package crifake

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"
)

// streams is the fake's stream server, upstream's own. It listens from the first call that wants a URL.
type streams struct {
	once   sync.Once
	server streaming.Server
	web    *http.Server
	served sync.WaitGroup
	err    error
}

func (r *Runtime) streamServer() (streaming.Server, error) {
	s := &r.streams
	s.once.Do(func() {
		var listener net.Listener
		if listener, s.err = net.Listen("tcp", "127.0.0.1:0"); s.err != nil {
			return
		}
		config := streaming.DefaultConfig
		config.BaseURL = &url.URL{Scheme: "http", Host: listener.Addr().String()}
		s.server, s.err = streaming.NewServer(config, streamEnds{r})
		s.web = &http.Server{Handler: s.server}
		s.served.Go(func() { _ = s.web.Serve(listener) })
	})
	return s.server, s.err
}

func (s *streams) close() {
	s.once.Do(func() {})
	if s.web != nil {
		_ = s.web.Close()
	}
	s.served.Wait()
}

// Exec prepares the streams of a Task beside the container's program, as ExecSync runs it.
func (s *service) Exec(_ context.Context, req *runtimev1.ExecRequest) (*runtimev1.ExecResponse, error) {
	if _, err := s.find(req.GetContainerId()); err != nil {
		return nil, err
	}
	server, err := s.streamServer()
	if err != nil {
		return nil, err
	}
	return server.GetExec(req)
}

// Attach prepares streams that give back what they are given: the fake's programs read no stdin.
func (s *service) Attach(_ context.Context, req *runtimev1.AttachRequest) (*runtimev1.AttachResponse, error) {
	if _, err := s.find(req.GetContainerId()); err != nil {
		return nil, err
	}
	server, err := s.streamServer()
	if err != nil {
		return nil, err
	}
	return server.GetAttach(req)
}

// PortForward prepares connections to a sandbox's ports.
func (s *service) PortForward(_ context.Context, req *runtimev1.PortForwardRequest) (*runtimev1.PortForwardResponse, error) {
	s.mu.Lock()
	b := s.sandboxes[req.GetPodSandboxId()]
	s.mu.Unlock()
	if b == nil {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", req.GetPodSandboxId())
	}
	server, err := s.streamServer()
	if err != nil {
		return nil, err
	}
	return server.GetPortForward(req)
}

func (r *Runtime) find(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	switch {
	case c == nil:
		return nil, status.Errorf(codes.NotFound, "container %q not found", id)
	case !c.running():
		return nil, status.Errorf(codes.FailedPrecondition, "container %q does not run", id)
	}
	return c, nil
}

// streamEnds are the other ends of the streams.
type streamEnds struct{ r *Runtime }

// Exec implements streaming.Runtime.
func (e streamEnds) Exec(ctx context.Context, id string, cmd []string, _ io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	c, err := e.r.find(id)
	if err != nil {
		return err
	}
	answer := c.exec(cmd, ctx.Done())
	if _, err := out.Write(answer.GetStdout()); err != nil {
		return err
	}
	if errs != nil {
		if _, err := errs.Write(answer.GetStderr()); err != nil {
			return err
		}
	}
	if code := answer.GetExitCode(); code != 0 {
		return exec.CodeExitError{Err: fmt.Errorf("exit status %d", code), Code: int(code)}
	}
	return nil
}

// Attach implements streaming.Runtime.
func (e streamEnds) Attach(_ context.Context, _ string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	if in == nil || out == nil {
		return nil
	}
	_, err := io.Copy(out, in)
	return err
}

// PortForward implements streaming.Runtime.
func (e streamEnds) PortForward(_ context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	e.r.mu.Lock()
	b := e.r.sandboxes[id]
	e.r.mu.Unlock()
	if b == nil {
		return fmt.Errorf("sandbox %q not found", id)
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(b.ip(), strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(conn, stream) }()
	_, err = io.Copy(stream, conn)
	return err
}
