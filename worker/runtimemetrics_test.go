package worker

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestRuntimeMetrics(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "metrics.sock")
	page := newRuntimeMetrics(socket).behind(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("the worker's page may come in another format: %v", r.Header)
		}
		fmt.Fprintln(w, "worker 1")
	}))
	get := func() string {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", "application/openmetrics-text")
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Body)
		return string(body)
	}
	if body := get(); !strings.HasPrefix(body, "worker 1\n# metrics of the runtime: ") || strings.Count(body, "\n") != 2 {
		t.Errorf("without a runtime: %q", body)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	code, long := http.StatusOK, strings.Repeat("l", 1<<17) // than a line that is read at once
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		fmt.Fprintln(w, "# HELP go_threads x\n# TYPE go_threads gauge\ngo_threads 3\nprocess_open_fds{x=\""+strings.Repeat("l", 1<<16)+"\"} 1\ngopher 1")
		fmt.Fprintln(w, "runtime 2", r.URL.Path, long)
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	if body := get(); body != "worker 1\ngopher 1\nruntime 2 /metrics "+long+"\n" {
		t.Errorf("with a runtime: %q", body)
	}
	code = http.StatusInternalServerError
	if body := get(); !strings.Contains(body, "# metrics of the runtime: ") || strings.Contains(body, "runtime 2") {
		t.Errorf("with an ill runtime: %q", body)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
}
