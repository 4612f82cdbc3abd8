package streaming

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/rest"
	client "k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

// ways are the protocols that clients come with.
var ways = map[string]func(config *rest.Config, at *url.URL) (client.Executor, error){
	"WebSocket v5": func(config *rest.Config, at *url.URL) (client.Executor, error) {
		return client.NewWebSocketExecutor(config, http.MethodGet, at.String())
	},
	"WebSocket v4": func(config *rest.Config, at *url.URL) (client.Executor, error) {
		return client.NewWebSocketExecutorForProtocols(config, http.MethodGet, at.String(), remotecommand.StreamProtocolV4Name)
	},
	"SPDY": func(config *rest.Config, at *url.URL) (client.Executor, error) {
		return client.NewSPDYExecutor(config, http.MethodPost, at)
	},
}

// run runs a command as a client would.
func (n *node) run(way, path string, o client.StreamOptions, command ...string) error {
	return n.runWith(n.Context(), way, path, o, command...)
}

func (n *node) runWith(ctx context.Context, way, path string, o client.StreamOptions, command ...string) error {
	q := Options{Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil, TTY: o.Tty}.Query()
	q[ParamCommand] = command
	at, err := url.Parse(n.url + path + "?" + q.Encode())
	if err != nil {
		return err
	}
	executor, err := ways[way](&rest.Config{Host: n.url, BearerToken: "a-secret"}, at)
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, o)
}

func TestCommandsByEveryProtocol(t *testing.T) {
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			n := newNode(t)
			large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB: more than any buffer on the way
			var out, errs bytes.Buffer
			if way == "WebSocket v4" {
				// This protocol cannot close stdin alone: there is none.
				if err := n.run(way, "/exec", client.StreamOptions{Stdout: &out}, "exit", "7"); code(err) != 7 {
					t.Errorf("exit: %v", err)
				}
				n.awaitEnd("exit")
				return
			}
			if err := n.run(way, "/exec", client.StreamOptions{Stdin: strings.NewReader(large), Stdout: &out, Stderr: &errs}, "cat"); err != nil {
				t.Fatal(err)
			}
			if out.String() != large || errs.String() != "1048576 bytes" {
				t.Errorf("got %d bytes back, stderr %q", out.Len(), errs.String())
			}
			n.awaitEnd("cat")
			if err := n.run(way, "/exec", client.StreamOptions{Stdout: &out}, "exit", "7"); code(err) != 7 {
				t.Errorf("exit: %v", err)
			}
			n.awaitEnd("exit")
			if err := n.run(way, "/exec", client.StreamOptions{Stdout: &out}, "fail"); err == nil || !strings.Contains(err.Error(), "no such program") {
				t.Errorf("fail: %v", err)
			}
			n.awaitEnd("fail")
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.headers.Get("Authorization") != "" {
				t.Error("the runtime saw the client's credential")
			}
		})
	}
}

func code(err error) int {
	var exit exec.CodeExitError
	if !errors.As(err, &exit) {
		return -1
	}
	return exit.Code
}

type fixedSize struct{ once sync.Once }

func (f *fixedSize) Next() (size *client.TerminalSize) {
	f.once.Do(func() { size = &client.TerminalSize{Width: 132, Height: 43} })
	return size
}

func TestTerminalSize(t *testing.T) {
	for _, way := range []string{"WebSocket v5", "SPDY"} {
		t.Run(way, func(t *testing.T) {
			n := newNode(t)
			var out bytes.Buffer
			o := client.StreamOptions{Stdin: strings.NewReader(""), Stdout: &out, Tty: true, TerminalSizeQueue: &fixedSize{}}
			if err := n.run(way, "/exec", o, "size"); err != nil || out.String() != "132x43" {
				t.Errorf("size = %q, %v", out.String(), err)
			}
			n.awaitEnd("size")
		})
	}
}

// TestClientThatGoesAway has the client leave a command that would wait for ever.
func TestClientThatGoesAway(t *testing.T) {
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			n := newNode(t)
			ctx, leave := context.WithCancel(t.Context())
			in, _ := io.Pipe()
			defer in.Close()
			out := &firstWrite{then: leave}
			if err := n.runWith(ctx, way, "/exec", client.StreamOptions{Stdin: in, Stdout: out}, "wait"); !errors.Is(err, context.Canceled) {
				t.Errorf("the client that left got %v", err)
			}
			n.awaitEnd("wait")
			n.within("the session to end", n.relay.Wait)
		})
	}
}

func TestServerThatEnds(t *testing.T) {
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			n := newNode(t)
			in, _ := io.Pipe()
			defer in.Close()
			out := &firstWrite{then: n.stop}
			if err := n.run(way, "/exec", client.StreamOptions{Stdin: in, Stdout: out}, "wait"); way == "WebSocket v5" && (err == nil || !strings.Contains(err.Error(), "was stopped")) {
				t.Errorf("the client was told %v", err)
			}
			n.awaitEnd("wait")
			n.within("the session to end", n.relay.Wait)
		})
	}
}

// firstWrite calls then when something comes.
type firstWrite struct {
	once sync.Once
	then func()
}

func (f *firstWrite) Write(p []byte) (int, error) {
	if len(p) > 0 {
		f.once.Do(f.then)
	}
	return len(p), nil
}

func TestRefusals(t *testing.T) {
	n := newNode(t)
	for _, tt := range []struct{ path, command, want string }{
		{"/missing", "cat", "no such container"},
		{"/broken", "cat", "the runtime is away"},
		{"/refused", "cat", "answered 404"},
		{"/odd", "cat", "want http and a host"},
		{"/exec", "", "a command must be given"},
	} {
		for _, way := range []string{"SPDY", "WebSocket v5"} {
			err := n.run(way, tt.path, client.StreamOptions{Stdout: io.Discard}, tt.command)
			if err == nil || way == "SPDY" && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s by %s: %v", tt.path, way, err)
			}
		}
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(must(http.NewRequest(http.MethodGet, n.url+"/exec?output=1&command=cat", nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "upgrade") {
		t.Errorf("without an upgrade: %s %s", resp.Status, text)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestSessionsAreBounded(t *testing.T) {
	n := newNode(t)
	for range MaxSessions {
		n.relay.places <- struct{}{}
	}
	if err := n.run("SPDY", "/exec", client.StreamOptions{Stdout: io.Discard}, "exit", "7"); err == nil || !strings.Contains(err.Error(), "as many streams as it may") {
		t.Errorf("one session too many: %v", err)
	}
	<-n.relay.places
	if err := n.run("SPDY", "/exec", client.StreamOptions{Stdout: io.Discard}, "exit", "7"); code(err) != 7 {
		t.Errorf("the last session: %v", err)
	}
	for range MaxSessions - 1 {
		<-n.relay.places
	}
	n.awaitEnd("exit")
}
