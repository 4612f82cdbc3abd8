package streaming

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"
)

const patience = 60 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	ignored := []goleak.Option{
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		// The clients' own, which ends some seconds after they have.
		goleak.IgnoreTopFunction("k8s.io/client-go/tools/remotecommand.(*heartbeat).start"),
	}
	err := goleak.Find(ignored...)
	for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); { // SPDY takes a second to close
		err = goleak.Find(ignored...)
	}
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// programs is a runtime whose commands are functions, behind upstream's own stream server.
type programs struct {
	ended chan string // commands that have ended, by name
}

func (p *programs) Exec(_ context.Context, _ string, cmd []string, in io.Reader, out, errs io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	defer func() { p.ended <- cmd[0] }()
	switch cmd[0] {
	case "cat":
		n, err := io.Copy(out, in)
		if errs != nil {
			fmt.Fprintf(errs, "%d bytes", n)
		}
		return err
	case "exit":
		return exec.CodeExitError{Err: fmt.Errorf("exit status %s", cmd[1]), Code: 7}
	case "fail":
		return fmt.Errorf("no such program")
	case "size":
		size := <-resize
		fmt.Fprintf(out, "%dx%d", size.Width, size.Height)
		return nil
	case "wait": // until the client has gone
		fmt.Fprint(out, "waiting")
		_, err := io.Copy(io.Discard, in)
		return err
	}
	return fmt.Errorf("what is %s?", cmd[0])
}

func (p *programs) Attach(ctx context.Context, id string, in io.Reader, out, errs io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return p.Exec(ctx, id, []string{"cat"}, in, out, errs, tty, resize)
}

func (p *programs) PortForward(_ context.Context, _ string, port int32, stream io.ReadWriteCloser) error {
	defer func() { p.ended <- "forward" }()
	defer stream.Close()
	if port != 80 {
		return fmt.Errorf("nothing listens on port %d", port)
	}
	fmt.Fprint(stream, "port 80 ")
	_, err := io.Copy(stream, stream)
	return err
}

// node is a node's server in front of such a runtime.
type node struct {
	*testing.T
	*programs
	relay  *Relay
	stream streaming.Server
	url    string
	stop   context.CancelFunc // ends the server's context

	mu      sync.Mutex
	headers http.Header // that the runtime's server saw last
}

func newNode(t *testing.T) *node {
	t.Helper()
	t.Parallel()
	n := &node{T: t, programs: &programs{ended: make(chan string, 10)}, relay: NewRelay(slog.New(slog.DiscardHandler))}
	runtime := httptest.NewUnstartedServer(nil)
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: runtime.Listener.Addr().String()}
	var err error
	if n.stream, err = streaming.NewServer(config, n.programs); err != nil {
		t.Fatal(err)
	}
	runtime.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		n.headers = r.Header.Clone()
		n.mu.Unlock()
		n.stream.ServeHTTP(w, r)
	})
	runtime.Start()
	t.Cleanup(runtime.Close)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	server := httptest.NewUnstartedServer(http.HandlerFunc(n.serve))
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Start()
	n.url = server.URL
	t.Cleanup(func() {
		stop()
		server.Close()
		n.within("the sessions to end", n.relay.Wait)
	})
	return n
}

func (n *node) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if strings.HasPrefix(r.URL.Path, "/forward") {
		ports, err := ParsePorts(r)
		if err != nil {
			refuse(w, &Error{http.StatusBadRequest, err.Error()})
			return
		}
		n.relay.PortForward(w, r, func(context.Context) (Target, error) {
			answer, err := n.stream.GetPortForward(&runtimev1.PortForwardRequest{PodSandboxId: "s", Port: ports})
			return Target{URL: answer.GetUrl()}, err
		})
		return
	}
	o, err := ParseOptions(q)
	if err != nil {
		refuse(w, &Error{http.StatusBadRequest, err.Error()})
		return
	}
	n.relay.Command(w, r, o, func(context.Context) (Target, error) {
		switch r.URL.Path {
		case "/missing":
			return Target{}, &Error{http.StatusNotFound, "no such container"}
		case "/broken":
			return Target{}, fmt.Errorf("the runtime is away")
		case "/refused":
			return Target{URL: "http://" + r.Context().Value(http.LocalAddrContextKey).(net.Addr).String() + "/missing?output=1"}, nil
		case "/odd":
			return Target{URL: "ftp://x/"}, nil
		}
		command, err := ParseCommand(q)
		if err != nil {
			return Target{}, &Error{http.StatusBadRequest, err.Error()}
		}
		answer, err := n.stream.GetExec(&runtimev1.ExecRequest{ContainerId: "c", Cmd: command, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY})
		return Target{URL: answer.GetUrl()}, err
	})
}

// within runs f, which must not take for ever.
func (n *node) within(what string, f func()) {
	n.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		n.Errorf("waited %v for %s", patience, what)
	}
}

// awaitEnd waits for a command to have ended.
func (n *node) awaitEnd(command string) {
	n.Helper()
	select {
	case got := <-n.ended:
		if got != command {
			n.Errorf("%s has ended, want %s", got, command)
		}
	case <-time.After(patience):
		n.Errorf("%s goes on", command)
	}
}

// gone is a runtime that gives out URLs which it does not serve.
type gone struct{ streaming.Server }

// GetPortForward implements streaming.Server.
func (g gone) GetPortForward(r *runtimev1.PortForwardRequest) (*runtimev1.PortForwardResponse, error) {
	answer, err := g.Server.GetPortForward(r)
	if err == nil {
		answer.Url += "0"
	}
	return answer, err
}
