package critest

import (
	"bytes"
	"io"
	"strings"

	"k8s.io/client-go/tools/remotecommand"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// testExecPlain: a command without input and without a terminal.
func testExecPlain(s *suite) {
	p := s.sandbox()
	id := s.begin(p, s.shellConfig(p, "main", idle))
	at := s.relay(s.Client.Exec(s.ctx, &runtimev1.ExecRequest{ContainerId: id, Cmd: []string{"/bin/sh", "-c", "cat; echo out; echo err >&2"}, Stdout: true, Stderr: true}))
	var out, errs bytes.Buffer
	if err := s.stream(at, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}); err != nil || out.String() != "out\n" || errs.String() != "err\n" {
		s.Errorf("%q, %q, %v", out.String(), errs.String(), err)
	}
}

// sizes tells a terminal's size once.
type sizes chan remotecommand.TerminalSize

func (q sizes) Next() *remotecommand.TerminalSize {
	size, ok := <-q
	if !ok {
		return nil
	}
	return &size
}

// testExecResize: a terminal has the size that its client has.
func testExecResize(s *suite) {
	p := s.sandbox()
	id := s.begin(p, s.shellConfig(p, "main", idle))
	const wait = "until [ \"$(stty size 2>/dev/null)\" = '37 111' ]; do usleep 10000; done; echo resized"
	at := s.relay(s.Client.Exec(s.ctx, &runtimev1.ExecRequest{ContainerId: id, Cmd: []string{"/bin/sh", "-c", wait}, Stdin: true, Stdout: true, Tty: true}))
	queue := make(sizes, 1)
	queue <- remotecommand.TerminalSize{Width: 111, Height: 37}
	defer close(queue)
	var out bytes.Buffer
	in, hold := io.Pipe()
	defer hold.Close()
	if err := s.stream(at, remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true, TerminalSizeQueue: queue}); err != nil || strings.TrimSpace(out.String()) != "resized" {
		s.Errorf("%q, %v", out.String(), err)
	}
}

// testPortForwardHostNetwork: a pod of the node's network has its ports where the node has them.
func testPortForwardHostNetwork(s *suite) {
	host := func(o *runtimev1.NamespaceOption) { o.Network = runtimev1.NamespaceMode_NODE }
	p := s.sandboxLike(func(c *runtimev1.PodSandboxConfig) {
		c.Hostname = ""
		host(c.Linux.SecurityContext.NamespaceOptions)
	})
	s.present(s.ServerImage)
	c := s.containerConfig(p, s.ServerImage, "web", 0)
	host(c.Linux.SecurityContext.NamespaceOptions)
	s.begin(p, c)
	p.ip = "127.0.0.1" // of the namespace that the runtime works in
	s.answers(p)
	s.forwards(p)
}
