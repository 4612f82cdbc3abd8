package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/controlplane/resource"
)

// TestRun starts a whole server, opens a watch on it and stops it.
func TestRun(t *testing.T) {
	r, err := resource.New(resource.Config{Store: storeOf(t), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	failing := true
	s, err := New(Config{Registry: r, Listen: "127.0.0.1:0", Logger: quiet, Ready: map[string]func() error{"extra": func() error {
		if failing {
			return fmt.Errorf("not yet")
		}
		return nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	addr, err := s.Addr(ctx)
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + addr.String()
	if code, body := fetch(t, url+"/readyz"); code != 503 || !strings.Contains(body, "[-]extra failed: not yet") || !strings.Contains(body, "[+]store ok") {
		t.Errorf("not ready: %d %s", code, body)
	}
	if code, _ := fetch(t, url+"/readyz?exclude=extra"); code != 200 {
		t.Errorf("excluded: %d", code)
	}
	failing = false
	for path, want := range map[string]string{
		"/readyz": "ok", "/livez": "ok", "/healthz": "ok", "/readyz/extra": "ok", "/livez/ping": "ok",
		"/readyz?verbose": "[+]bootstrap ok\n[+]extra ok\n[+]ping ok\n[+]store ok\nreadyz check passed\n",
	} {
		if code, body := fetch(t, url+path); code != 200 || body != want {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	if code, body := fetch(t, url+"/api/v1/namespaces/default/services/kubernetes"); code != 200 || !strings.Contains(body, `"127.43.0.1"`) {
		t.Errorf("kubernetes service: %d %s", code, body)
	}
	if code, body := fetch(t, url+"/metrics"); code != 200 || !strings.Contains(body,
		`apiserver_request_total{code="200",group="",resource="services",subresource="",verb="get",version="v1"} 1`) {
		t.Errorf("metrics: %d %.300s", code, body)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/api/v1/namespaces?watch=1&resourceVersion=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Body.Close()
	lines := bufio.NewReader(watch.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(2 * shutdownTimeout):
		t.Fatal("does not stop")
	}
	if took := time.Since(begun); took >= shutdownTimeout {
		t.Errorf("an open watch held the shutdown up for %v", took)
	}
	for {
		if _, err := lines.ReadString('\n'); err != nil {
			break
		}
	}
	if _, err := http.Get(url + "/livez"); err == nil {
		t.Error("still answers")
	}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	saved := base
	defer func() { base = saved }()
	base = ""
	resp, body := request(t, "GET", url, "")
	return resp.StatusCode, body
}

func TestRunSaysWhyItCannotListen(t *testing.T) {
	taken := strings.TrimPrefix(base, "http://")
	s, err := New(Config{Registry: registry, Listen: taken, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Addr(ctx); err == nil {
		t.Error("it has an address")
	}
}
