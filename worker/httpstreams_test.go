package worker

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"

	"github.com/petrelrun/petrel/worker/streaming"
)

// command runs an exec or attach at the node's server.
func (n *testNode) command(path string, o remotecommand.StreamOptions, words ...string) error {
	n.Helper()
	at := n.nodeURL(path)
	q := streaming.Options{Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil}.Query()
	q[streaming.ParamCommand] = words
	at.RawQuery = q.Encode()
	e, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: at.Host}, http.MethodPost, at)
	if err != nil {
		n.Fatal(err)
	}
	return e.StreamWithContext(n.Context(), o)
}

func (n *testNode) nodeURL(path string) *url.URL {
	n.Helper()
	addr, err := n.worker.NodeAddr(n.Context())
	if err != nil {
		n.Fatal(err)
	}
	return &url.URL{Scheme: "http", Host: addr.String(), Path: path}
}

func TestStreamsOfContainers(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	n.create(testPod("over", "task", args("exit", "0"), policy(corev1.RestartPolicyNever)))
	n.ready("a")
	n.phase("over", corev1.PodSucceeded)
	var out, errs bytes.Buffer
	err := n.command("/exec/default/a/main", remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}, "print", "hello", "complain", "oops", "exit", "3")
	var exit exec.CodeExitError
	if !errors.As(err, &exit) || exit.Code != 3 || out.String() != "hello\n" || errs.String() != "oops\n" {
		t.Errorf("exec: %q, %q, %v", out.String(), errs.String(), err)
	}
	out.Reset()
	if err := n.command("/attach/default/a/main", remotecommand.StreamOptions{Stdin: strings.NewReader("to and fro"), Stdout: &out}); err != nil || out.String() != "to and fro" {
		t.Errorf("attach: %q, %v", out.String(), err)
	}
	for _, tt := range []struct{ path, says string }{
		{"/exec/default/none/main", `pod "none" is not on this node`},
		{"/exec/default/a/none", `container "none" is not in pod "a"`},
		{"/exec/default/over/main", `container "main" in pod "over" is not running`},
		{"/attach/default/over/main", `container "main" in pod "over" is not running`},
	} {
		if err := n.command(tt.path, remotecommand.StreamOptions{Stdout: io.Discard}, "print", "x"); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.path, err)
		}
	}
	n.runtime.Fail("Exec", status.Error(codes.InvalidArgument, "no such export"))
	if err := n.command("/exec/default/a/main", remotecommand.StreamOptions{Stdout: io.Discard}, "x"); err == nil || !strings.Contains(err.Error(), "no such export") {
		t.Errorf("what the runtime refuses: %v", err)
	}
	for query, want := range map[string]string{"": "a command must be given", "?command=x": "at least one of"} {
		if code, body := n.http(n.nodeURL("/exec/default/a/main").String() + query); code != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%q: %d %s", query, code, body)
		}
	}
}

func TestPortForwardToAPod(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("web", "web", func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080}} }))
	n.ready("web")
	d, err := portforward.NewSPDYOverWebsocketDialer(n.nodeURL("/portForward/default/web"), &rest.Config{Host: n.nodeURL("").Host})
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := d.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	headers := http.Header{}
	headers.Set(corev1.PortHeader, "8080")
	headers.Set(corev1.PortForwardRequestIDHeader, "1")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failures, err := conn.CreateStream(headers)
	if err != nil {
		t.Fatal(err)
	}
	_ = failures.Close()
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(data, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(data); err != nil || !strings.HasSuffix(string(got), "hello") {
		t.Errorf("got %q, %v", got, err)
	}
	missing, err := portforward.NewSPDYOverWebsocketDialer(n.nodeURL("/portForward/default/none"), &rest.Config{Host: n.nodeURL("").Host})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := missing.Dial(portforward.PortForwardProtocolV1Name); err == nil {
		t.Error("ports of a pod that is not there were forwarded")
	}
}

// TestStreamsEndWithTheWorker has the worker end in the middle of an attach.
func TestStreamsEndWithTheWorker(t *testing.T) {
	n := newTestNode(t)
	n.create(testPod("a", "idle"))
	n.ready("a")
	in, feed := io.Pipe()
	defer feed.Close()
	done := make(chan error, 1)
	began := &began{then: make(chan struct{})}
	go func() {
		done <- n.command("/attach/default/a/main", remotecommand.StreamOptions{Stdin: in, Stdout: began})
	}()
	go func() { _, _ = io.WriteString(feed, "x") }()
	select {
	case <-began.then:
	case err := <-done:
		t.Fatalf("the attach ended by itself: %v", err)
	}
	n.stop() // waits for the sessions too
	<-done
}

type began struct {
	then chan struct{}
	told bool
}

func (b *began) Write(p []byte) (int, error) {
	if !b.told {
		b.told = true
		close(b.then)
	}
	return len(p), nil
}
