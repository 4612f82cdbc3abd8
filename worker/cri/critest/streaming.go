package critest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri"
)

var streamingTests = map[string]func(*suite){
	"Exec":         testExecStreams,
	"ExecTerminal": testExecTerminal,
	"ExecRefused":  testExecRefused,
	"ExecPlain":    testExecPlain,
	"ExecResize":   testExecResize,
	"Attach":       testAttach,
	"HostNetwork":  testPortForwardHostNetwork,
}

// relay makes the runtime's stream server reachable from here, wherever it is, and answers the address to ask.
func (s *suite) relay(stream cri.Stream, err error) *url.URL {
	s.Helper()
	s.must(err)
	at, err := url.Parse(stream.URL)
	s.must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	var passing sync.WaitGroup
	target := at.Host
	passing.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			passing.Go(func() {
				far, err := stream.Dial(s.ctx, "tcp", target)
				if err == nil {
					pass(near, far)
				}
				near.Close()
			})
		}
	})
	s.Cleanup(func() { listener.Close(); passing.Wait() })
	at.Host = listener.Addr().String()
	return at
}

func pass(near, far net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, near)
		far.Close()
	}()
	_, _ = io.Copy(near, far)
	near.Close()
	<-done
}

func (s *suite) stream(at *url.URL, o remotecommand.StreamOptions) error {
	s.Helper()
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{}, http.MethodPost, at)
	s.must(err)
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	return executor.StreamWithContext(ctx, o)
}

func testExecStreams(s *suite) {
	p := s.sandbox()
	id := s.begin(p, s.shellConfig(p, "main", idle))
	at := s.relay(s.Client.Exec(s.ctx, &runtimev1.ExecRequest{ContainerId: id, Cmd: []string{"/bin/sh", "-c", "cat; echo oops >&2; exit 5"}, Stdin: true, Stdout: true, Stderr: true}))
	var out, errs bytes.Buffer
	large := strings.Repeat("0123456789abcdef", 1<<15)
	err := s.stream(at, remotecommand.StreamOptions{Stdin: strings.NewReader(large), Stdout: &out, Stderr: &errs})
	var code exec.CodeExitError
	if !errors.As(err, &code) || code.Code != 5 || out.String() != large || errs.String() != "oops\n" {
		s.Errorf("%d bytes came back, stderr %q, %v", out.Len(), errs.String(), err)
	}
}

func testExecTerminal(s *suite) {
	p := s.sandbox()
	id := s.begin(p, s.shellConfig(p, "main", idle))
	at := s.relay(s.Client.Exec(s.ctx, &runtimev1.ExecRequest{ContainerId: id, Cmd: []string{"/bin/sh", "-c", "test -t 0 && test -t 1 && echo terminal"}, Stdin: true, Stdout: true, Tty: true}))
	var out bytes.Buffer
	in, hold := io.Pipe() // stays open: a terminal whose client has gone is hung up
	defer hold.Close()
	if err := s.stream(at, remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true}); err != nil || strings.TrimSpace(out.String()) != "terminal" {
		s.Errorf("%q, %v", out.String(), err)
	}
}

func testExecRefused(s *suite) {
	p := s.sandbox()
	id := s.begin(p, s.shellConfig(p, "main", idle))
	for name, r := range map[string]*runtimev1.ExecRequest{
		"an unknown container":  {ContainerId: "no-such-container", Cmd: []string{"true"}, Stdout: true},
		"no streams":            {ContainerId: id, Cmd: []string{"true"}},
		"a terminal and stderr": {ContainerId: id, Cmd: []string{"true"}, Tty: true, Stdout: true, Stderr: true},
	} {
		if _, err := s.Client.Exec(s.ctx, r); err == nil {
			s.Errorf("%s: no error", name)
		}
	}
	if _, err := s.Client.Attach(s.ctx, &runtimev1.AttachRequest{ContainerId: "no-such-container", Stdout: true}); err == nil {
		s.Error("attach to an unknown container: no error")
	}
	if _, err := s.Client.PortForward(s.ctx, &runtimev1.PortForwardRequest{PodSandboxId: "no-such-sandbox", Port: []int32{80}}); err == nil {
		s.Error("port-forward to an unknown sandbox: no error")
	}
}

func testAttach(s *suite) {
	p := s.sandbox()
	c := s.shellConfig(p, "main", "read line; echo got $line; read line")
	c.Stdin, c.StdinOnce = true, true
	id := s.begin(p, c)
	at := s.relay(s.Client.Attach(s.ctx, &runtimev1.AttachRequest{ContainerId: id, Stdin: true, Stdout: true, Stderr: true}))
	var out, errs bytes.Buffer
	if err := s.stream(at, remotecommand.StreamOptions{Stdin: strings.NewReader("a word\n"), Stdout: &out, Stderr: &errs}); err != nil || out.String() != "got a word\n" {
		s.Errorf("%q, %q, %v", out.String(), errs.String(), err)
	}
	s.exited(id) // its stdin ended with the client's
	if got := strings.Join(s.logLines(p, c.GetLogPath()), "\n"); got != "stdout got a word" {
		s.Errorf("the log has %q", got)
	}
}

func testPortForward(s *suite) {
	p := s.sandbox(8642)
	s.start(p, s.ServerImage, "web", 0)
	s.answers(p)
	s.forwards(p)
}

// forwards asks the pod's server through the runtime.
func (s *suite) forwards(p *pod) {
	s.Helper()
	at := s.relay(s.Client.PortForward(s.ctx, &runtimev1.PortForwardRequest{PodSandboxId: p.id, Port: []int32{8642}}))
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{})
	s.must(err)
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at), []string{"127.0.0.1"}, []string{"0:8642"}, stop, ready, io.Discard, io.Discard)
	s.must(err)
	done := make(chan error, 1)
	go func() { done <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		s.Fatal(err)
	}
	ports, err := forwarder.GetPorts()
	s.must(err)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 3 {
		answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
		s.must(err)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			s.Errorf("answer %s", answer.Status)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		s.Error(err)
	}
}
