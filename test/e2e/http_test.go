package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// answer is what an HTTP server said.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// curl runs the real curl with the arguments a user would type and answers what came back.
func (w *world) curl(args ...string) answer {
	w.Helper()
	head := filepath.Join(w.TempDir(), "head")
	full := append([]string{"--silent", "--show-error", "--max-time", "180", "--dump-header", head, "--write-out", "\n%{http_code}"}, args...)
	cmd := exec.CommandContext(w.Context(), "curl", full...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		w.Fatalf("curl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	body, code, _ := cutLast(stdout.String(), "\n")
	status, err := strconv.Atoi(code)
	if err != nil {
		w.Fatalf("curl %s: status %q", strings.Join(args, " "), code)
	}
	return answer{Status: status, Body: body, Header: readHeader(w, head)}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// readHeader reads the last header block that curl dumped: a "100 Continue" may come before it.
func readHeader(w *world, path string) http.Header {
	w.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	header := http.Header{}
	for line := range strings.SplitSeq(string(data), "\r\n") {
		name, value, found := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "HTTP/"):
			header = http.Header{}
		case found:
			header.Add(name, strings.TrimSpace(value))
		}
	}
	return header
}

// browser is an HTTP client for app URLs: like curl and browsers it takes every *.localhost name for this machine.
var browser = &http.Client{
	Timeout: patience,
	Transport: &http.Transport{
		MaxIdleConnsPerHost: 16,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			if strings.HasSuffix(host, ".localhost") {
				addr = net.JoinHostPort("127.0.0.1", port)
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	},
}

// fetch asks for a URL and answers what came back, or why nothing did.
func fetch(ctx context.Context, url string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	return send(req)
}

func send(req *http.Request) (answer, error) {
	res, err := browser.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read body: %w", err)
	}
	return answer{Status: res.StatusCode, Header: res.Header, Body: string(body)}, nil
}

// get asks for a URL that must answer with the status.
func (w *world) get(url string, status int) answer {
	w.Helper()
	a, err := fetch(w.Context(), url)
	if err != nil {
		w.Fatal(err)
	}
	if a.Status != status {
		w.Fatalf("GET %s: %d, want %d: %s", url, a.Status, status, a.Body)
	}
	return a
}

// becomes waits until a URL answers with the status and a body that contains the text.
func (w *world) becomes(url string, status int, text string) answer {
	w.Helper()
	var last answer
	w.eventually("GET "+url, func() (err error) {
		if last, err = fetch(w.Context(), url); err != nil {
			return err
		}
		if last.Status != status || !strings.Contains(last.Body, text) {
			return fmt.Errorf("%d %s", last.Status, last.Body)
		}
		return nil
	})
	return last
}

// appURL is the URL of an app in the test's namespace.
func (w *world) appURL(app string) string {
	return fmt.Sprintf("http://%s.%s.localhost:%s/", app, w.ns, w.gatewayPort())
}

func (w *world) gatewayPort() string {
	_, port, err := net.SplitHostPort(w.cluster.State.Gateway)
	if err != nil {
		w.Fatalf("gateway address %q: %v", w.cluster.State.Gateway, err)
	}
	return port
}

// parse decodes JSON into a value of the given type.
func parse[T any](w *world, text string) T {
	w.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		w.Fatalf("parse JSON: %v\n%s", err, text)
	}
	return v
}
