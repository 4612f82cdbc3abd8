package wasi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// world is the Go guest, built and compiled once.
var world struct {
	once  sync.Once
	wasm  []byte
	cache string
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if world.cache != "" {
			_ = os.RemoveAll(world.cache)
		}
		os.Exit(code)
	}))
}

func load(t *testing.T, cache string, wasm []byte) *engine.Template {
	t.Helper()
	moduletest.Precompile(t, cache, wasm)
	e, err := engine.New(t.Context(), engine.Config{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := e.Load(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(tmpl.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return tmpl
}

func loadWorld(t *testing.T) *engine.Template {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a Go guest")
	}
	world.once.Do(func() {
		world.wasm = moduletest.BuildGo(t, "testdata/world", false)
		var err error
		if world.cache, err = os.MkdirTemp("", "petrel-wasi"); err != nil {
			t.Fatal(err)
		}
	})
	return load(t, filepath.Join(world.cache, "cache"), world.wasm)
}

// start runs a guest until the test ends, and checks that it ran until then.
func start(t *testing.T, tmpl *engine.Template, spec engine.Spec, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var stderr bytes.Buffer
	spec.Args, spec.Stderr = append([]string{"guest"}, args...), &stderr
	done := make(chan error, 1)
	go func() {
		_, err := tmpl.Run(ctx, spec)
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		var killed *engine.KilledError
		if err := <-done; !errors.As(err, &killed) {
			t.Errorf("the guest ended by itself: %v, %s", err, &stderr)
		}
	})
}

func run(t *testing.T, tmpl *engine.Template, spec engine.Spec, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	spec.Args, spec.Stdout, spec.Stderr = append([]string{"guest"}, args...), &out, &out
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if code, err := tmpl.Run(ctx, spec); code != 0 || err != nil {
		t.Errorf("%v: code %d, %v, %s", args, code, err, &out)
	}
	return out.String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func grants(t *testing.T, grants ...string) *egress.Policy {
	t.Helper()
	p, err := egress.Parse(grants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fetch(t *testing.T, r *http.Request) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return fetch(t, r)
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rests checks that a waiting guest uses no processor. The collector of this process may have something left to do, so
// it looks a few times.
func rests(t *testing.T) {
	t.Helper()
	const look = 300 * time.Millisecond
	used := look
	for range 5 {
		before := processorTime(t)
		time.Sleep(look)
		if used = processorTime(t) - before; used < look/6 {
			return
		}
	}
	t.Errorf("a waiting server used %v of the processor in %v", used, look)
}

func TestGoServer(t *testing.T) {
	l := listen(t)
	start(t, loadWorld(t), engine.Spec{Listeners: []net.Listener{l}}, "serve")
	base := "http://" + l.Addr().String()
	if got := get(t, base+"/x"); !strings.HasPrefix(got, "/x from 127.0.0.1:") || !strings.HasSuffix(got, " at "+l.Addr().String()) {
		t.Errorf("it says %q", got)
	}
	t.Run("form", func(t *testing.T) {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		part, err := form.CreateFormFile("file", "a.bin")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(make([]byte, 12<<20)) // more than the ten megabytes that a form has for its other parts
		_ = form.Close()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/form", &body)
		r.Header.Set("Content-Type", form.FormDataContentType())
		if got := fetch(t, r); got != "a.bin 12582912 true <nil>" {
			t.Errorf("it says %q", got)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				payload := strings.Repeat(fmt.Sprint(i), 300_000)
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/echo", strings.NewReader(payload))
				if got := fetch(t, r); got != payload {
					t.Errorf("%d came back as %d bytes", i, len(got))
				}
			})
		}
		wg.Wait()
	})
	t.Run("idle", func(t *testing.T) {
		rests(t)
	})
}

func TestGoServerOfTheStandardLibrary(t *testing.T) {
	l := listen(t)
	start(t, loadWorld(t), engine.Spec{Listeners: []net.Listener{l}}, "serve-std")
	for range 3 {
		if got := get(t, "http://"+l.Addr().String()+"/y"); got != "plain /y" {
			t.Errorf("it says %q", got)
		}
	}
}

func TestGoReachesOut(t *testing.T) {
	tmpl := loadWorld(t)
	tcp, udp := echoes(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "from outside") }))
	defer web.Close()
	silent := listen(t)
	all := grants(t, "tcp:127.0.0.0/8:*", "udp:127.0.0.0/8:*", "dns")
	out := run(t, tmpl, engine.Spec{Egress: all}, "dial", tcp, udp)
	if !strings.Contains(out, "hello tcp\n") || !strings.Contains(out, "hello udp\n") {
		t.Errorf("dial: %q", out)
	}
	if out := run(t, tmpl, engine.Spec{Egress: all}, "get", web.URL); out != "200 from outside" {
		t.Errorf("get: %q", out)
	}
	if out := run(t, tmpl, engine.Spec{Egress: all}, "slow", silent.Addr().String()); out != "true true\n" {
		t.Errorf("slow: %q", out)
	}
	if out := run(t, tmpl, engine.Spec{Egress: all}, "lookup", "localhost"); !strings.Contains(out, "127.0.0.1") || !strings.HasSuffix(out, "<nil>\n") {
		t.Errorf("lookup: %q", out)
	}
	for _, policy := range []*egress.Policy{nil, grants(t, "udp:*:*")} {
		if out := run(t, tmpl, engine.Spec{Egress: policy}, "denied", tcp); !strings.HasPrefix(out, "true ") {
			t.Errorf("denied: %q", out)
		}
	}
	if out := run(t, tmpl, engine.Spec{}, "lookup", "localhost"); !strings.Contains(out, "permission") && !strings.Contains(out, "Permission") {
		t.Errorf("lookup without a grant: %q", out)
	}
}

func TestGoFilesAndInput(t *testing.T) {
	tmpl := loadWorld(t)
	if out := run(t, tmpl, engine.Spec{}, "temp"); out != "true 1 z\n0 <nil>\n" {
		t.Errorf("temporary files: %q", out)
	}
	r, w := io.Pipe()
	defer r.Close()
	late := &lateInput{to: w}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	code, err := tmpl.Run(ctx, engine.Spec{Args: []string{"guest", "stdin"}, Stdin: r, Stdout: late})
	if got := late.out.String(); got != "waiting\n\"late\\n\" <nil> true\n" || code != 0 || err != nil {
		t.Errorf("late input: code %d, %v, %q", code, err, got)
	}
}

// lateInput sends a line some time after the guest has written that it waits.
type lateInput struct {
	to   io.Writer
	once sync.Once
	out  bytes.Buffer
}

func (l *lateInput) Write(p []byte) (int, error) {
	l.once.Do(func() { time.AfterFunc(300*time.Millisecond, func() { _, _ = l.to.Write([]byte("late\n")) }) })
	return l.out.Write(p)
}

// echoes are servers that send back what they get.
func echoes(t *testing.T) (tcp, udp string) {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			k, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(k, k)
			_ = k.Close()
		}
	}()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	go func() {
		buf := make([]byte, 1000)
		for {
			n, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(buf[:n], from)
		}
	}()
	return l.Addr().String(), p.LocalAddr().String()
}
