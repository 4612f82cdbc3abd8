package httpabi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/engine"
	"github.com/petrelrun/petrel/wasmrt/module"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

// TestEchoserver runs the example that accepts connections itself, as the runner does: no Handler is between.
func TestEchoserver(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an example")
	}
	wasm := moduletest.BuildGo(t, "../../examples/echoserver", false)
	moduletest.Precompile(t, cacheDir, wasm)
	e, err := engine.New(context.Background(), engine.Config{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	template, err := e.Load(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(template.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	}()
	if abi, reason, err := module.Detect(template.Info(), "", true); abi != module.ABISockets || err != nil {
		t.Fatalf("it is served as %s (%s), %v", abi, reason, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		_, err := template.Run(ctx, engine.Spec{Args: []string{"echoserver"}, Listeners: []net.Listener{l}, Stderr: &stderr})
		ended <- err
	}()
	client := &http.Client{Timeout: 10 * time.Second}
	ask := func(method, body string) string {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	for i, want := range []string{"request 1\n", "request 2\n", "request 3\n"} {
		if got := ask("GET", ""); got != want {
			t.Errorf("request %d: %q", i, got)
		}
	}
	big := strings.Repeat("echo ", 50_000)
	if got := ask("POST", big); got != big {
		t.Errorf("%d bytes came back of %d", len(got), len(big))
	}
	client.CloseIdleConnections()
	cancel()
	var killed *engine.KilledError
	if err := <-ended; !errors.As(err, &killed) {
		t.Errorf("it ended with %v, stderr %q", err, stderr.String())
	}
}
