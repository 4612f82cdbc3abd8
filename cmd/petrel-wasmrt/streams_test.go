package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// stream connects to a URL as kubelets do.
func (n *node) stream(ctx context.Context, at string, o remotecommand.StreamOptions) error {
	n.t.Helper()
	where, err := url.Parse(at)
	if err != nil {
		n.t.Fatal(err)
	}
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: where.Host}, http.MethodPost, where)
	if err != nil {
		n.t.Fatal(err)
	}
	return e.StreamWithContext(ctx, o)
}

func (n *node) exec(id string, stdin io.Reader, command ...string) (stdout, stderr string, err error) {
	n.t.Helper()
	answer, err := n.rt.Exec(n.ctx(), &runtimev1.ExecRequest{ContainerId: id, Cmd: command, Stdin: stdin != nil, Stdout: true, Stderr: true})
	if err != nil {
		n.t.Fatal(err)
	}
	var out, errs bytes.Buffer
	err = n.stream(n.ctx(), answer.Url, remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Stderr: &errs})
	if again := n.stream(n.ctx(), answer.Url, remotecommand.StreamOptions{Stdout: io.Discard}); again == nil {
		n.t.Error("a URL is good for a second time")
	}
	return out.String(), errs.String(), err
}

// TestStreams runs commands in, attaches to and forwards a port of confined guests.
func TestStreams(t *testing.T) {
	n := newNode(t)
	tools, _ := n.reg.push("x/tools", wasmtest.Tools())
	echo, _ := n.reg.push("x/echo", wasmtest.Echo())
	serve, _ := n.reg.push("x/serve", wasmtest.Serve("hello", "", 0))
	n.pull(tools)
	n.pull(echo)
	n.pull(serve)
	p, q := n.run(n.podConfig("default")), n.run(n.podConfig("default"))
	id := n.launch(p, containerConfig("tools", tools))

	large := strings.Repeat("0123456789abcdef", 1<<15)
	if stdout, stderr, err := n.exec(id, strings.NewReader(large), "copy"); stdout != large || stderr != "" || err != nil {
		t.Errorf("copy: %d bytes, %q, %v", len(stdout), stderr, err)
	}
	if stdout, stderr, err := n.exec(id, nil, "complain"); stdout != "" || stderr != "hello\n" || err != nil {
		t.Errorf("complain: %q, %q, %v", stdout, stderr, err)
	}
	_, _, err := n.exec(id, nil, "fail")
	var exit exec.CodeExitError
	if !errors.As(err, &exit) || exit.Code != 4 {
		t.Errorf("fail: %v", err)
	}
	sync, err := n.rt.ExecSync(n.ctx(), &runtimev1.ExecSyncRequest{ContainerId: id, Cmd: []string{"arguments", "a"}})
	if err != nil || string(sync.GetStdout()) != "arguments\x00a\x00" || sync.GetExitCode() != 0 {
		t.Errorf("exec sync: %+v, %v", sync, err)
	}
	if sync, err = n.rt.ExecSync(n.ctx(), &runtimev1.ExecSyncRequest{ContainerId: id, Cmd: []string{"fail"}}); err != nil || sync.GetExitCode() != 4 {
		t.Errorf("exec sync: %+v, %v", sync, err)
	}
	if _, err = n.rt.ExecSync(n.ctx(), &runtimev1.ExecSyncRequest{ContainerId: id, Cmd: []string{"forever"}, Timeout: 1}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("exec sync that takes too long: %v", err)
	}
	n.leave(id)

	config := containerConfig("echo", echo)
	config.Stdin, config.StdinOnce = true, true
	n.attachTo(n.launch(p, config))
	n.launch(q, containerConfig("serve", serve))
	n.forwardTo(q)
}

// leave goes away from a command that never ends; that ends it.
func (n *node) leave(id string) {
	n.t.Helper()
	answer, err := n.rt.Exec(n.ctx(), &runtimev1.ExecRequest{ContainerId: id, Cmd: []string{"forever"}, Stdout: true})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, leave := context.WithTimeout(n.ctx(), 300*time.Millisecond)
	defer leave()
	// By WebSocket: SPDY's library keeps the connection of a client that leaves as long as its streams are open.
	e, err := remotecommand.NewWebSocketExecutorForProtocols(&rest.Config{Host: answer.Url}, http.MethodGet, answer.Url, "v4.channel.k8s.io")
	if err != nil {
		n.t.Fatal(err)
	}
	if err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard}); !errors.Is(err, context.DeadlineExceeded) {
		n.t.Errorf("forever ended: %v", err)
	}
	// All places are free again, one of which a command that goes on would hold.
	eventually(n.t, "the command that was left to end", func() bool {
		var busy atomic.Int32
		var all sync.WaitGroup
		for range control.MaxExecs {
			all.Go(func() {
				_, err := n.rt.ExecSync(n.ctx(), &runtimev1.ExecSyncRequest{ContainerId: id, Cmd: []string{"forever"}, Timeout: 1})
				if status.Code(err) != codes.DeadlineExceeded {
					busy.Add(1)
				}
			})
		}
		all.Wait()
		return busy.Load() == 0
	})
}

func (n *node) attachTo(id string) {
	n.t.Helper()
	answer, err := n.rt.Attach(n.ctx(), &runtimev1.AttachRequest{ContainerId: id, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		n.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := n.stream(n.ctx(), answer.Url, remotecommand.StreamOptions{Stdin: strings.NewReader("to and fro"), Stdout: &out, Stderr: io.Discard}); err != nil || out.String() != "to and fro" {
		n.t.Errorf("attach: %q, %v", out.String(), err)
	}
	if s := n.exited(id); s.GetExitCode() != 0 {
		n.t.Errorf("the attached command: %+v", s)
	}
}

func (n *node) forwardTo(p *pod) {
	n.t.Helper()
	answer, err := n.rt.PortForward(n.ctx(), &runtimev1.PortForwardRequest{PodSandboxId: p.id})
	if err != nil {
		n.t.Fatal(err)
	}
	at, err := url.Parse(answer.Url)
	if err != nil {
		n.t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{Host: at.Host})
	if err != nil {
		n.t.Fatal(err)
	}
	conn, _, err := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, at).Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	headers := http.Header{}
	headers.Set(corev1.PortHeader, "8080")
	headers.Set(corev1.PortForwardRequestIDHeader, "1")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failures, err := conn.CreateStream(headers)
	if err != nil {
		n.t.Fatal(err)
	}
	failures.Close()
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := io.WriteString(data, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		n.t.Fatal(err)
	}
	stop := context.AfterFunc(n.ctx(), func() { _ = conn.Close() })
	defer stop()
	got, _ := io.ReadAll(data)
	failure, _ := io.ReadAll(failures)
	if !strings.HasSuffix(string(got), "\r\n\r\nhello") || len(failure) > 0 {
		n.t.Errorf("forward: %q, %q", got, failure)
	}
}
