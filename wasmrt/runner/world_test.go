package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// world is a runner with a client connected to it.
type world struct {
	*control.Client
	t      *testing.T
	dir    string
	socket string
	ended  chan error
	stop   context.CancelFunc
	events chan control.Status
	runner *Runner
	next   atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, dir: dir, socket: filepath.Join(dir, "s"), ended: make(chan error, 1), events: make(chan control.Status, 100)}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Namespace: "default", Listener: l, Version: "test", Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.runner = cancel, r
	go func() { w.ended <- r.Run(ctx); close(w.ended) }()
	w.Client = w.dial()
	t.Cleanup(func() {
		cancel()
		for err := range w.ended {
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		}
		_ = w.Client.Close()
	})
	return w
}

func (w *world) dial() *control.Client {
	w.t.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := control.NewClient(context.Background(), conn, func(event string, params json.RawMessage) {
		var s control.Status
		if err := json.Unmarshal(params, &s); err != nil {
			w.t.Error(err)
		}
		w.events <- s
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// params describes a container of the module with an address of its own.
func (w *world) params(wasm []byte) control.CreateParams {
	w.t.Helper()
	p := writeModule(w.t, w.dir, wasm)
	n := w.next.Add(1)
	p.ID, p.LogPath = fmt.Sprintf("c%04d", n), filepath.Join(w.dir, "logs", fmt.Sprint(n), "0.log")
	return p
}

func writeModule(t testing.TB, dir string, wasm []byte) control.CreateParams {
	t.Helper()
	h := sha256.Sum256(wasm)
	digest := hex.EncodeToString(h[:])
	path := filepath.Join(dir, digest)
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return control.CreateParams{ID: "c", SandboxID: "s", ModulePath: path, Digest: "sha256:" + digest,
		Address: nextAddress(), Ports: []uint16{8080}}
}

var addresses atomic.Int64

// nextAddress answers an address that no other test of this package uses.
func nextAddress() string {
	n := addresses.Add(1)
	return fmt.Sprintf("127.42.%d.%d", 200+n/250, n%250+1)
}

func (w *world) do(method string, params any) (control.Status, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var s control.Status
	err := w.Call(ctx, method, params, &s)
	return s, err
}

func (w *world) must(method string, params any) control.Status {
	w.t.Helper()
	s, err := w.do(method, params)
	if err != nil {
		w.t.Fatalf("%s: %v", method, err)
	}
	return s
}

// launch creates and starts a container.
func (w *world) launch(p control.CreateParams) control.Status {
	w.t.Helper()
	w.must(control.MethodCreate, p)
	return w.must(control.MethodStart, control.Target{ID: p.ID})
}

// exit waits for the event of the container's end.
func (w *world) exit(id string) control.Status {
	w.t.Helper()
	for {
		select {
		case s := <-w.events:
			if s.ID == id && s.State == control.StateExited {
				return s
			}
		case <-time.After(20 * time.Second):
			w.t.Fatalf("container %s did not exit", id)
		}
	}
}

func (w *world) log(p control.CreateParams) string {
	w.t.Helper()
	b, err := os.ReadFile(p.LogPath)
	if err != nil {
		w.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(line, " ")
		out.WriteString(rest)
	}
	return out.String()
}

func wantCode(t *testing.T, err error, code control.Code) {
	t.Helper()
	var e *control.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("error %v, want code %s", err, code)
	}
}

func url(p control.CreateParams) string {
	port := 8080
	if len(p.Ports) > 0 {
		port = int(p.Ports[0])
	}
	return fmt.Sprintf("http://%s:%d/", p.Address, port)
}

// get asks without keeping the connection.
func get(ctx context.Context, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
