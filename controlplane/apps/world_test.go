package apps

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/apps/apptest"
	"github.com/petrelrun/petrel/controlplane/controller"
	"github.com/petrelrun/petrel/controlplane/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the deploy API over a cluster in memory, with the real App controller and the real registry.
type world struct {
	*testing.T
	store    *apptest.Store
	node     *apptest.Node
	registry *registry.Registry
	gateway  *fakeGateway
	logs     *fakeLogs
	server   *Server
	http     *httptest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store := apptest.NewStore("default", "other")
	informers := apptest.NewInformers(store)
	reg, err := registry.New(registry.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		T: t, store: store, registry: reg, logs: &fakeLogs{},
		node:    &apptest.Node{Store: store, ColdStart: 4200, Compile: 150_000},
		gateway: &fakeGateway{store: store},
	}
	w.server, err = New(Config{
		Client: store, Informers: informers, Modules: reg, Logs: w.logs, Gateway: w.gateway,
		URL: URLs("127.0.0.1:8081"), SpoolDir: t.TempDir(), RegistryHosts: []string{"127.0.0.1:8080"},
	})
	if err != nil {
		t.Fatal(err)
	}
	apps, err := controller.NewApps(controller.AppConfig{
		Config: controller.Config{Client: store, Informers: informers, Recorder: &record.FakeRecorder{}},
		URL:    URLs("127.0.0.1:8081"), Resolve: w.server.Resolve,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.run(informers.Run, w.node.Run, func(ctx context.Context) {
		if err := apps.Run(ctx); err != nil {
			t.Errorf("run app controller: %v", err)
		}
	})
	w.http = httptest.NewServer(w.server)
	t.Cleanup(func() {
		w.http.CloseClientConnections()
		w.http.Close()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// run starts what ends with the test.
func (w *world) run(loops ...func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, loop := range loops {
		group.Go(func() { loop(ctx) })
	}
	w.Cleanup(func() { cancel(); group.Wait() })
}

// answered is one response, read.
type answered struct {
	*http.Response
	body []byte
}

func (w *world) do(method, path string, body []byte, headers ...string) answered {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.http.URL+path, bytes.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.http.Client().Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return answered{Response: resp, body: raw}
}

// put deploys and wants the status.
func (w *world) put(path string, body []byte, status int, headers ...string) Deployed {
	w.Helper()
	a := w.do(http.MethodPut, path, body, headers...)
	if a.StatusCode != status {
		w.Fatalf("PUT %s: %s, want %d\n%s", path, a.Status, status, a.body)
	}
	return decode[Deployed](w, a)
}

// problem sends what has to fail and checks the form of the answer.
func (w *world) problem(method, path string, body []byte, status int, code string, headers ...string) Problem {
	w.Helper()
	a := w.do(method, path, body, headers...)
	if a.StatusCode != status || a.Header.Get("Content-Type") != ProblemMediaType {
		w.Fatalf("%s %s: %s %s, want %d\n%s", method, path, a.Status, a.Header.Get("Content-Type"), status, a.body)
	}
	p := decode[Problem](w, a)
	if p.Code != code || p.Status != status || p.Title == "" || p.Type != problemTypes+code || p.Detail == "" || p.Cause == "" || p.Fix == "" {
		w.Fatalf("%s %s: want code %s and all members\n%s", method, path, code, a.body)
	}
	if path, _, _ := strings.Cut(path, "?"); p.Instance != path {
		w.Errorf("instance %q, want %q", p.Instance, path)
	}
	return p
}

func decode[T any](w *world, a answered) T {
	w.Helper()
	var out T
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		w.Fatalf("decode: %v\n%s", err, a.body)
	}
	return out
}

func (w *world) eventually(what string, condition func() error) {
	w.Helper()
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	w.Fatalf("waited for %s: %v", what, err)
}

// fakeGateway lets an app's ready pod answer.
type fakeGateway struct {
	store  *apptest.Store
	status atomic.Int32 // 0: 200
	silent atomic.Bool  // as a gateway that does not name the pod
	asked  atomic.Int32
	fails  atomic.Int32 // how many probes fail first
}

func (g *fakeGateway) Probe(_ context.Context, address string) (Answer, error) {
	g.asked.Add(1)
	if g.fails.Add(-1) >= 0 {
		return Answer{}, errors.New("connection refused")
	}
	u, err := url.Parse(address)
	if err != nil {
		return Answer{}, err
	}
	app, _, _ := strings.Cut(u.Hostname(), ".")
	for _, pod := range apptest.All[*corev1.Pod](g.store) {
		if pod.Labels[api.LabelApp] == app && len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].Ready {
			answer := Answer{Status: 200, Pod: pod.Name}
			if s := g.status.Load(); s != 0 {
				answer.Status = int(s)
			}
			if g.silent.Load() {
				answer.Pod = ""
			}
			return answer, nil
		}
	}
	return Answer{Status: 503}, nil
}

// fakeLogs holds what pods said. A pod that nothing is known of has a default line.
type fakeLogs struct {
	mu    sync.Mutex
	lines map[string][]string // by pod
	fails map[string]error
	more  chan struct{} // closed and renewed when lines come
	asked []corev1.PodLogOptions
	ended bool // logs that are followed end
}

func (l *fakeLogs) say(pod string, lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = map[string][]string{}
	}
	l.lines[pod] = append(l.lines[pod], lines...)
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

func (l *fakeLogs) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

func (l *fakeLogs) options() []corev1.PodLogOptions {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]corev1.PodLogOptions(nil), l.asked...)
}

func (l *fakeLogs) from(pod string, n int) ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more == nil {
		l.more = make(chan struct{})
	}
	return l.lines[pod][min(n, len(l.lines[pod])):], l.more
}

func (l *fakeLogs) Open(ctx context.Context, _, pod string, opts *corev1.PodLogOptions) (io.ReadCloser, error) {
	l.mu.Lock()
	l.asked = append(l.asked, *opts)
	err := l.fails[pod]
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() {
		n := 0
		for {
			lines, more := l.from(pod, n)
			if n == 0 && opts.TailLines != nil {
				n = max(0, len(lines)-int(*opts.TailLines))
				lines = lines[n:]
			}
			for _, line := range lines {
				if !opts.Timestamps {
					_, line, _ = strings.Cut(line, " ")
				}
				if _, err := fmt.Fprintln(w, line); err != nil {
					return
				}
				n++
			}
			if !opts.Follow || l.over() {
				w.Close()
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
				w.CloseWithError(ctx.Err())
				return
			}
		}
	}()
	return r, nil
}
