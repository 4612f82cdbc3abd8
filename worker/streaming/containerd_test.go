package streaming_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
	"github.com/petrelrun/petrel/worker/cri"
	"github.com/petrelrun/petrel/worker/streaming"
)

const limit = 60 * time.Second

// TestContainerd has real containerds, whose stream servers listen on the loopback of other network namespaces, serve each
// kind of stream to each kind of client.
func TestContainerd(t *testing.T) {
	t.Run("1.6", func(t *testing.T) { testContainerd(t, containerdtest.Config{}) })
	t.Run("2.x", func(t *testing.T) { testContainerd(t, containerdtest.Config{Program: containerdtest.V2(t)}) })
}

func testContainerd(t *testing.T, config containerdtest.Config) {
	t.Parallel()
	c := containerdtest.Start(t, config)
	image := c.ImportBusybox()
	shell := containerdtest.Container("main", image, "sh", "-c", "mkdir -p /www /tmp; echo from the pod >/www/f; httpd -p 127.0.0.1:8080 -h /www; exec cat")
	shell.Stdin = true
	sandbox, containers := c.Run(c.Sandbox("streams"), shell)
	p := &peer{T: t, cri: c.CRI, sandbox: sandbox, container: containers[0]}
	p.serve()
	for way, executor := range map[string]func(*rest.Config, *url.URL) (remotecommand.Executor, error){
		"WebSocket": func(config *rest.Config, at *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(config, http.MethodGet, at.String())
		},
		"SPDY": func(config *rest.Config, at *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(config, http.MethodPost, at)
		},
	} {
		p.executor = executor
		t.Run(way+"/exec", func(t *testing.T) { p.in(t).exec() })
		t.Run(way+"/cp", func(t *testing.T) { p.in(t).cp() })
		t.Run(way+"/terminal", func(t *testing.T) { p.in(t).terminal() })
		t.Run(way+"/attach", func(t *testing.T) { p.in(t).attach(way) })
	}
	t.Run("port-forward", func(t *testing.T) { p.in(t).forward() })
}

// peer is a node's server before one pod.
type peer struct {
	*testing.T
	cri                *cri.Client
	sandbox, container string
	url                string
	executor           func(*rest.Config, *url.URL) (remotecommand.Executor, error)
}

func (p *peer) in(t *testing.T) *peer {
	q := *p
	q.T = t
	return &q
}

func (p *peer) serve() {
	relay := streaming.NewRelay(slog.New(slog.DiscardHandler))
	mux := http.NewServeMux()
	command := func(open func(context.Context, streaming.Options, []string) (cri.Stream, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			o, _ := streaming.ParseOptions(r.URL.Query())
			relay.Command(w, r, o, func(ctx context.Context) (streaming.Target, error) {
				s, err := open(ctx, o, r.URL.Query()[streaming.ParamCommand])
				return streaming.Target(s), err
			})
		}
	}
	mux.HandleFunc("/exec", command(func(ctx context.Context, o streaming.Options, words []string) (cri.Stream, error) {
		return p.cri.Exec(ctx, &runtimev1.ExecRequest{ContainerId: p.container, Cmd: words, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY})
	}))
	mux.HandleFunc("/attach", command(func(ctx context.Context, o streaming.Options, _ []string) (cri.Stream, error) {
		return p.cri.Attach(ctx, &runtimev1.AttachRequest{ContainerId: p.container, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY})
	}))
	mux.HandleFunc("/forward", func(w http.ResponseWriter, r *http.Request) {
		relay.PortForward(w, r, func(ctx context.Context) (streaming.Target, error) {
			s, err := p.cri.PortForward(ctx, &runtimev1.PortForwardRequest{PodSandboxId: p.sandbox})
			return streaming.Target(s), err
		})
	})
	ctx, stop := context.WithCancel(context.Background())
	server := httptest.NewUnstartedServer(mux)
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Start()
	p.url = server.URL
	p.Cleanup(func() {
		stop()
		server.Close()
		relay.Wait()
	})
}

func (p *peer) run(path string, o remotecommand.StreamOptions, words ...string) error {
	p.Helper()
	q := streaming.Options{Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil, TTY: o.Tty}.Query()
	q[streaming.ParamCommand] = words
	at, err := url.Parse(p.url + path + "?" + q.Encode())
	if err != nil {
		p.Fatal(err)
	}
	e, err := p.executor(&rest.Config{Host: p.url}, at)
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.Context(), limit)
	defer cancel()
	return e.StreamWithContext(ctx, o)
}

func (p *peer) exec() {
	var out, errs bytes.Buffer
	err := p.run("/exec", remotecommand.StreamOptions{Stdin: strings.NewReader("a line"), Stdout: &out, Stderr: &errs}, "sh", "-c", "cat; echo oops >&2; exit 5")
	var exit exec.CodeExitError
	if !errors.As(err, &exit) || exit.Code != 5 || out.String() != "a line" || errs.String() != "oops\n" {
		p.Errorf("got %q, %q, %v", out.String(), errs.String(), err)
	}
	if err := p.run("/exec", remotecommand.StreamOptions{Stdout: &out}, "no-such-program"); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		p.Errorf("a program that is not there: %v", err)
	}
}

// cp does what kubectl cp does: an archive goes in by the one's stdin, and comes out by the other's stdout.
func (p *peer) cp() {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))})); err != nil {
		p.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		p.Fatal(err)
	}
	w.Close()
	var errs bytes.Buffer
	if err := p.run("/exec", remotecommand.StreamOptions{Stdin: &archive, Stdout: io.Discard, Stderr: &errs}, "tar", "-xmf", "-", "-C", "/tmp"); err != nil {
		p.Fatalf("%v: %s", err, errs.String())
	}
	var back bytes.Buffer
	if err := p.run("/exec", remotecommand.StreamOptions{Stdout: &back, Stderr: &errs}, "tar", "-cf", "-", "-C", "/tmp", "file"); err != nil {
		p.Fatalf("%v: %s", err, errs.String())
	}
	r := tar.NewReader(&back)
	if h, err := r.Next(); err != nil || h.Name != "file" {
		p.Fatalf("%+v, %v", h, err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
		p.Errorf("%d bytes came back, %v", len(got), err)
	}
}

type size struct{ told bool }

func (s *size) Next() *remotecommand.TerminalSize {
	if s.told {
		return nil
	}
	s.told = true
	return &remotecommand.TerminalSize{Width: 91, Height: 17}
}

func (p *peer) terminal() {
	var out bytes.Buffer
	in, _ := io.Pipe() // a terminal whose input ends is hung up
	defer in.Close()
	// The size comes while the command runs already.
	script := `for i in $(seq 200); do s=$(stty size 2>/dev/null); [ "$s" = "17 91" ] && break; sleep 0.05; done; test -t 1 && echo "terminal $s"`
	err := p.run("/exec", remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true, TerminalSizeQueue: &size{}}, "sh", "-c", script)
	if err != nil || strings.TrimSpace(out.String()) != "terminal 17 91" {
		p.Errorf("got %q, %v", out.String(), err)
	}
}

// attach talks with the container's own process, which gives back what it is given.
func (p *peer) attach(word string) {
	in, feed := io.Pipe()
	defer feed.Close()
	ctx, leave := context.WithCancel(p.Context())
	defer leave()
	out := &lines{want: word + "\n", found: leave}
	done := make(chan error, 1)
	attached := *p
	go func() {
		at, _ := url.Parse(p.url + "/attach?" + streaming.Options{Stdin: true, Stdout: true}.Query().Encode())
		e, err := attached.executor(&rest.Config{Host: p.url}, at)
		if err == nil {
			err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out})
		}
		done <- err
	}()
	go fmt.Fprintln(feed, word)
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			p.Errorf("got %q, %v", out.got.String(), err)
		}
	case <-time.After(limit):
		p.Error("nothing came back")
	}
}

// lines calls found when what it wants has come.
type lines struct {
	got   bytes.Buffer
	want  string
	found func()
}

func (l *lines) Write(b []byte) (int, error) {
	l.got.Write(b)
	if strings.Contains(l.got.String(), l.want) {
		l.found()
	}
	return len(b), nil
}

// forward connects twice over one port-forward, as kubectl does for two connections.
func (p *peer) forward() {
	d, err := portforward.NewSPDYOverWebsocketDialer(&url.URL{Scheme: "http", Host: strings.TrimPrefix(p.url, "http://"), Path: "/forward"}, &rest.Config{Host: p.url})
	if err != nil {
		p.Fatal(err)
	}
	conn, _, err := d.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		p.Fatal(err)
	}
	defer conn.Close()
	for id := range 2 {
		headers := http.Header{}
		headers.Set(corev1.PortHeader, "8080")
		headers.Set(corev1.PortForwardRequestIDHeader, fmt.Sprint(id))
		headers.Set(corev1.StreamType, corev1.StreamTypeError)
		failures, err := conn.CreateStream(headers)
		if err != nil {
			p.Fatal(err)
		}
		failures.Close()
		headers.Set(corev1.StreamType, corev1.StreamTypeData)
		data, err := conn.CreateStream(headers)
		if err != nil {
			p.Fatal(err)
		}
		fmt.Fprint(data, "GET /f HTTP/1.0\r\n\r\n")
		got, _ := io.ReadAll(data)
		failure, _ := io.ReadAll(failures)
		if !strings.HasSuffix(string(got), "\r\n\r\nfrom the pod\n") || len(failure) > 0 {
			p.Errorf("got %q, %q", got, failure)
		}
		data.Close()
	}
}
