package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/rest"
	remote "k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	cristreams "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/petrelrun/petrel/controlplane/auth"
)

// parrot is a node's command that gives back what it is given and ends with 3.
type parrot struct{ ended chan struct{} }

func (e parrot) ExecInContainer(_ context.Context, _, _, _ string, _ []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan cristreams.TerminalSize, _ time.Duration) error {
	defer func() { e.ended <- struct{}{} }()
	fmt.Fprint(out, "hello ")
	if in != nil {
		_, _ = io.Copy(out, in)
	}
	return utilexec.CodeExitError{Err: errors.New("exit status 3"), Code: 3}
}

// streamNode is a node that runs a parrot for whatever it is asked, and tells what it was asked.
func streamNode(t *testing.T, name string) (asked chan *http.Request, ended chan struct{}) {
	t.Helper()
	asked, ended = make(chan *http.Request, 10), make(chan struct{}, 10)
	nodeWith(t, name, func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		if strings.HasSuffix(r.URL.Path, "/absent") {
			http.Error(w, "container absent is not here", http.StatusNotFound)
			return
		}
		q := r.URL.Query()
		o := &cristreams.Options{Stdin: q.Get("input") == "1", Stdout: q.Get("output") == "1", Stderr: q.Get("error") == "1", TTY: q.Get("tty") == "1"}
		cristreams.ServeExec(w, r, parrot{ended}, "", "", "", nil, o, time.Minute, time.Minute, cristreams.SupportedStreamingProtocols)
	})
	return asked, ended
}

var executors = map[string]func(config *rest.Config, at *url.URL) (remote.Executor, error){
	"WebSocket": func(config *rest.Config, at *url.URL) (remote.Executor, error) {
		return remote.NewWebSocketExecutorForProtocols(config, http.MethodGet, at.String(), remotecommand.StreamProtocolV4Name)
	},
	"SPDY": func(config *rest.Config, at *url.URL) (remote.Executor, error) {
		return remote.NewSPDYExecutor(config, http.MethodPost, at)
	},
}

func TestExecReachesTheNode(t *testing.T) {
	ns := space(t)
	asked, ended := streamNode(t, "exec-node")
	podOn(t, ns, "p", "exec-node", "c", "d")
	for way, executor := range executors {
		at, _ := url.Parse(base + "/api/v1/namespaces/" + ns + "/pods/p/exec?container=d&command=sh&command=-c&command=a+b%26c&stdin=true&stdout=true&stderr=false")
		e, err := executor(&rest.Config{Host: base, BearerToken: "secret"}, at)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		in := io.Reader(strings.NewReader("world"))
		if way == "WebSocket" { // which cannot close its stdin
			in = nil
			at.RawQuery = strings.Replace(at.RawQuery, "stdin=true", "stdin=false", 1)
			if e, err = executor(&rest.Config{Host: base}, at); err != nil {
				t.Fatal(err)
			}
		}
		err = e.StreamWithContext(t.Context(), remote.StreamOptions{Stdin: in, Stdout: &out})
		var exit exec.CodeExitError
		if !errors.As(err, &exit) || exit.Code != 3 {
			t.Errorf("%s: %v", way, err)
		}
		if want := "hello "; !strings.HasPrefix(out.String(), want) || in != nil && out.String() != "hello world" {
			t.Errorf("%s: got %q", way, out.String())
		}
		<-ended
		r := <-asked
		if r.URL.Path != "/exec/"+ns+"/p/d" || !slices.Equal(r.URL.Query()["command"], []string{"sh", "-c", "a b&c"}) || r.URL.Query().Get("output") != "1" || r.URL.Query().Has("error") {
			t.Errorf("%s: the node was asked for %s", way, r.URL)
		}
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s: the node saw a credential", way)
		}
	}
}

func TestAttachAndPortForwardReachTheNode(t *testing.T) {
	ns := space(t)
	asked := make(chan *http.Request, 10)
	nodeWith(t, "attach-node", func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: %s\r\n\r\n", r.Header.Get("X-Stream-Protocol-Version"))
	})
	podOn(t, ns, "p", "attach-node", "c")
	for path, want := range map[string]string{
		"attach?stdout=true&stderr=true&tty=true": "/attach/" + ns + "/p/c?output=1&tty=1",
		"portforward":                   "/portForward/" + ns + "/p",
		"portforward?ports=80&ports=81": "/portForward/" + ns + "/p?port=80&port=81",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/namespaces/"+ns+"/pods/p/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "SPDY/3.1")
		req.Header.Set("X-Stream-Protocol-Version", "v4.channel.k8s.io")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-Stream-Protocol-Version") != "v4.channel.k8s.io" {
			t.Errorf("%s: %s", path, resp.Status)
		}
		resp.Body.Close()
		if r := <-asked; r.URL.String() != want {
			t.Errorf("%s: the node was asked for %s, want %s", path, r.URL, want)
		}
	}
}

func TestStreamsThatCannotBeHad(t *testing.T) {
	ns := space(t)
	asked, _ := streamNode(t, "stream-node")
	podOn(t, ns, "unbound", "", "c")
	podOn(t, ns, "lost", "no-such-node", "c")
	podOn(t, ns, "p", "stream-node", "c", "absent")
	upgrade := []string{"Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"}
	for _, tt := range []struct {
		query   string
		headers []string
		code    int
		text    string
	}{
		{"p/exec?container=c&command=x&stdout=true", nil, 400, "ask for an upgrade"},
		{"p/exec?container=c&stdout=true", upgrade, 400, "a command must be given"},
		{"p/exec?container=c&command=x", upgrade, 400, "at least one of stdin"},
		{"p/exec?container=c&command=x&tty=true&stderr=true", upgrade, 400, "at least one of stdin"},
		{"p/exec?command=x&stdout=true", upgrade, 400, "choose one of: [c absent]"},
		{"p/exec?container=x&command=x&stdout=true", upgrade, 400, "container x is not valid"},
		{"p/attach?container=absent&stdout=true", upgrade, 404, "container absent is not here"},
		{"unbound/portforward", upgrade, 400, "not assigned to a node yet"},
		{"lost/portforward", upgrade, 404, `nodes "no-such-node" not found`},
		{"missing/portforward", upgrade, 404, `pods "missing" not found`},
	} {
		resp, body := request(t, "POST", "/api/v1/namespaces/"+ns+"/pods/"+tt.query, "", tt.headers...)
		if s := statusIn(t, body); resp.StatusCode != tt.code || !strings.Contains(s.Message, tt.text) {
			t.Errorf("%s: %s %s", tt.query, resp.Status, s.Message)
		}
	}
	if len(asked) != 1 {
		t.Errorf("the node was asked %d times", len(asked))
	}
}

// readers lets everybody read.
type readers struct{ auth.Loopback }

func (readers) Authorize(_ context.Context, a *auth.Attributes) error {
	if a.Verb == "get" {
		return nil
	}
	return &auth.Refusal{Status: http.StatusForbidden, Message: "you may only read"}
}

// TestReadersRunNoCommands: a WebSocket begins with a GET, which is not to be taken for reading.
func TestReadersRunNoCommands(t *testing.T) {
	s, err := New(Config{Registry: registry, Logger: quiet, Authorizer: readers{}, Authenticator: auth.Loopback{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"exec", "attach", "portforward"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := httptest.NewRequest(method, "http://localhost/api/v1/namespaces/default/pods/p/"+sub+"?command=x&stdout=true", nil)
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if w.Code != http.StatusForbidden {
				t.Errorf("%s %s: %d", method, sub, w.Code)
			}
		}
	}
}

// TestStreamsEndWithTheServer has a server stop while a command waits for its input.
func TestStreamsEndWithTheServer(t *testing.T) {
	ns := space(t)
	_, ended := streamNode(t, "stopping-node")
	podOn(t, ns, "p", "stopping-node", "c")
	s, err := New(Config{Registry: registry, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s.ready.Store(true)
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	at, _ := url.Parse(web.URL + "/api/v1/namespaces/" + ns + "/pods/p/exec?command=x&stdin=true&stdout=true")
	e, err := remote.NewSPDYExecutor(&rest.Config{Host: web.URL}, http.MethodPost, at)
	if err != nil {
		t.Fatal(err)
	}
	in, _ := io.Pipe()
	defer in.Close()
	done := make(chan error, 1)
	go func() {
		done <- e.StreamWithContext(t.Context(), remote.StreamOptions{Stdin: in, Stdout: stopAtFirst{s.stopStreams}})
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the stream goes on without its server")
	}
	<-ended
}

type stopAtFirst struct{ stop func() }

func (s stopAtFirst) Write(p []byte) (int, error) {
	s.stop()
	return len(p), nil
}

func TestEphemeralContainers(t *testing.T) {
	ns := space(t)
	podOn(t, ns, "p", "", "c")
	pods := client(t, contentProtobuf).CoreV1().Pods(ns)
	p, err := pods.Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debugger", Image: "i"}, TargetContainerName: "c"}}
	p.Spec.Containers[0].Image = "other" // which this subresource does not change
	p, err = pods.UpdateEphemeralContainers(t.Context(), "p", p, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if e := p.Spec.EphemeralContainers; len(e) != 1 || e[0].ImagePullPolicy == "" || e[0].TerminationMessagePath == "" || p.Spec.Containers[0].Image != "i" {
		t.Fatalf("got %+v and image %s", e, p.Spec.Containers[0].Image)
	}
	patch := `{"spec":{"ephemeralContainers":[{"name":"second","image":"i","targetContainerName":"nobody"}]}}`
	resp, body := request(t, "PATCH", "/api/v1/namespaces/"+ns+"/pods/p/ephemeralcontainers", patch, "Content-Type: application/strategic-merge-patch+json")
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, "targetContainerName") {
		t.Errorf("a target that is not there: %s %s", resp.Status, body)
	}
	resp, body = request(t, "PATCH", "/api/v1/namespaces/"+ns+"/pods/p/ephemeralcontainers", strings.Replace(patch, "nobody", "c", 1), "Content-Type: application/strategic-merge-patch+json")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"second"`) || !strings.Contains(body, `"debugger"`) {
		t.Errorf("a second one: %s %s", resp.Status, body)
	}
	p.Spec.EphemeralContainers = nil
	if _, err := pods.UpdateEphemeralContainers(t.Context(), "p", p, metav1.UpdateOptions{}); err == nil {
		t.Error("an ephemeral container can be taken away")
	}
}
