package wagi

import (
	"crypto/tls"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/engine"
)

func TestEnvironment(t *testing.T) {
	r := httptest.NewRequest("POST", "/a%20b/c?x=1&y=2", strings.NewReader("hello"))
	r.Host, r.RemoteAddr = "app.localhost:8081", "127.0.0.9:4711"
	r.Header["Accept"] = []string{"a", "b"}
	r.Header["Cookie"] = []string{"c=1", "d=2"}
	r.Header.Set("Content-Type", "text/x")
	r.Header.Set("X-Custom-One", "1")
	r.Header.Set("Proxy", "http://evil.example")
	r.Header["X_custom_one"] = []string{"2"}
	env := environment(r, 5)
	for _, want := range []string{
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1", "SERVER_NAME=app.localhost", "SERVER_PORT=8081",
		"REQUEST_METHOD=POST", "REQUEST_URI=/a%20b/c?x=1&y=2", "QUERY_STRING=x=1&y=2", "SCRIPT_NAME=", "PATH_INFO=/a b/c",
		"X_RAW_PATH_INFO=/a%20b/c", "X_FULL_URL=http://app.localhost:8081/a%20b/c?x=1&y=2", "REMOTE_ADDR=127.0.0.9",
		"REMOTE_PORT=4711", "CONTENT_LENGTH=5", "CONTENT_TYPE=text/x", "HTTP_HOST=app.localhost:8081", "HTTP_ACCEPT=a, b",
		"HTTP_COOKIE=c=1; d=2", "HTTP_X_CUSTOM_ONE=1",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %q", want, env)
		}
	}
	for _, e := range env {
		if strings.Contains(e, "evil") || strings.HasPrefix(e, "HTTPS=") || strings.HasSuffix(e, "=2") && strings.HasPrefix(e, "HTTP_X_") {
			t.Errorf("%s is in the environment", e)
		}
	}
	if err := (engine.Spec{Env: env}).Validate(); err != nil {
		t.Error(err)
	}
	r.TLS, r.Host, r.URL.Path = &tls.ConnectionState{}, "app", "/a\x00b"
	env = environment(r, 0)
	if !slices.Contains(env, "HTTPS=on") || !slices.Contains(env, "SERVER_PORT=443") || !slices.Contains(env, "PATH_INFO=/ab") {
		t.Errorf("with TLS and a zero byte: %q", env)
	}
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		own   []string
		query string
		want  []string
	}{
		{[]string{"app"}, "", []string{"app"}},
		{[]string{"app"}, "a=1&&b", []string{"app", "a=1", "b"}},
		{nil, "a", []string{"app", "a"}},
		{[]string{"app", "--fixed"}, "--evil", []string{"app", "--fixed"}},
	} {
		if got := arguments(tt.own, tt.query); !slices.Equal(got, tt.want) {
			t.Errorf("arguments(%q, %q) = %q, want %q", tt.own, tt.query, got, tt.want)
		}
	}
}
