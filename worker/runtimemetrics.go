package worker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"
)

const (
	// runtimeMetricsTimeout bounds asking the runtime for its metrics; those of ten thousand pods take a moment.
	runtimeMetricsTimeout = 10 * time.Second
	// maxRuntimeMetrics bounds what is passed on of them.
	maxRuntimeMetrics = 64 << 20
)

// runtimeMetrics is the runtime's own page of metrics, which it serves on a unix socket.
type runtimeMetrics struct{ client *http.Client }

func newRuntimeMetrics(socket string) *runtimeMetrics {
	if socket == "" {
		return nil
	}
	return &runtimeMetrics{client: &http.Client{
		Timeout: runtimeMetricsTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true, // it is asked for now and then: no connection is worth keeping
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		},
	}}
}

// behind serves first's page with the runtime's behind it, as text. A runtime that is away leaves a comment: the
// worker's own metrics are worth having then above all.
func (m *runtimeMetrics) behind(first http.Handler) http.Handler {
	if m == nil {
		return first
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept") // the runtime's page is text, and one page has one format
		plain.Header.Del("Accept-Encoding")
		first.ServeHTTP(w, plain)
		if err := m.copyTo(r.Context(), w); err != nil {
			fmt.Fprintf(w, "# metrics of the runtime: %q\n", err)
		}
	})
}

func (m *runtimeMetrics) copyTo(ctx context.Context, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://runtime/metrics", nil)
	if err != nil {
		return fmt.Errorf("ask runtime for metrics: %w", err)
	}
	answer, err := m.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask runtime for metrics: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask runtime for metrics: %s", answer.Status)
	}
	return copyMetrics(w, io.LimitReader(answer.Body, maxRuntimeMetrics))
}

// perProcess begin the names that every process with Prometheus' client has. One page can have them once: for the worker.
var perProcess = []string{"go_", "process_", "promhttp_"}

// copyMetrics passes a page on, but for what is perProcess.
func copyMetrics(w io.Writer, page io.Reader) error {
	lines, whole, dropped := bufio.NewReader(page), true, false
	for {
		line, err := lines.ReadSlice('\n')
		if whole { // else the line before was too long for the reader, and goes on
			name := bytes.TrimPrefix(bytes.TrimPrefix(line, []byte("# HELP ")), []byte("# TYPE "))
			dropped = slices.ContainsFunc(perProcess, func(prefix string) bool { return bytes.HasPrefix(name, []byte(prefix)) })
		}
		whole = !errors.Is(err, bufio.ErrBufferFull)
		if !dropped {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && whole:
			return err
		}
	}
}
