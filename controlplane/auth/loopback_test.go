package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLoopbackHost(t *testing.T) {
	tests := []struct {
		host string
		want bool
	}{
		{"localhost", true}, {"localhost:8080", true}, {"LOCALHOST:8080", true}, {"localhost.", true},
		{"hello.localhost", true}, {"hello.default.localhost:8081", true},
		{"127.0.0.1", true}, {"127.0.0.1:8080", true}, {"127.42.0.9:80", true},
		{"[::1]", true}, {"[::1]:8080", true}, {"::1", true}, {"[::ffff:127.0.0.1]:8080", true},
		{"", false}, {":8080", false}, {"example.com", false}, {"example.com:8080", false},
		{"localhost.example.com", false}, {"127.0.0.1.nip.io", false}, {"notlocalhost", false},
		{"10.0.0.1:8080", false}, {"0.0.0.0:8080", false}, {"[::]:8080", false}, {"128.0.0.1", false},
		{".localhost", false}, {"a..localhost", false}, {"a b.localhost", false}, {"example.com/.localhost", false},
		{"[::1%eth0]:80", false}, {"localhost:80:80", false},
	}
	for _, tt := range tests {
		if got := IsLoopbackHost(tt.host); got != tt.want {
			t.Errorf("IsLoopbackHost(%q) = %v, want %v", tt.host, got, tt.want)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	tests := []struct {
		name    string
		method  string
		host    string
		headers map[string]string
		refused string // a part of the message; "" is let through
	}{
		{name: "curl", host: "127.0.0.1:8080"},
		{name: "kubectl", host: "localhost:8080", method: http.MethodPost},
		{name: "rebinding", host: "evil.example:8080", refused: "Host header"},
		{name: "page of the same origin", host: "localhost:8080", headers: map[string]string{"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}},
		{name: "page elsewhere", host: "localhost:8080", method: http.MethodPost, headers: map[string]string{"Origin": "https://evil.example"}, refused: "Origin"},
		{name: "an app's page", host: "localhost:8080", headers: map[string]string{"Origin": "http://hello.localhost:8081"}, refused: "Origin"},
		{name: "other port", host: "localhost:8080", headers: map[string]string{"Origin": "http://localhost:8081"}, refused: "Origin"},
		{name: "other scheme", host: "localhost:8080", headers: map[string]string{"Origin": "https://localhost:8080"}, refused: "Origin"},
		{name: "opaque origin", host: "localhost:8080", headers: map[string]string{"Origin": "null"}, refused: "Origin"},
		{name: "image in a page", host: "localhost:8080", headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, refused: "Sec-Fetch-Site"},
		{name: "same site is another origin", host: "localhost:8080", headers: map[string]string{"Sec-Fetch-Site": "same-site"}, refused: "Sec-Fetch-Site"},
		{name: "typed in", host: "localhost:8080", headers: map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}},
		{name: "followed a link", host: "localhost:8080", headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}},
		{name: "frame", host: "localhost:8080", headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, refused: "Sec-Fetch-Site"},
		{name: "form posted elsewhere", method: http.MethodPost, host: "localhost:8080", headers: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, refused: "Sec-Fetch-Site"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/api", nil)
			r.Host = tt.host
			for k, v := range tt.headers {
				r.Header.Set(k, v)
			}
			u, err := Loopback{}.Authenticate(r)
			if tt.refused == "" {
				if err != nil || u.Name != AdminName || u.Groups[0] != GroupMasters {
					t.Fatalf("got %v, %v", u, err)
				}
				return
			}
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Status != http.StatusForbidden || !strings.Contains(refusal.Message, tt.refused) {
				t.Fatalf("got %v, want a refusal over %s", err, tt.refused)
			}
		})
	}
}

func TestAuthorize(t *testing.T) {
	if err := (Loopback{}).Authorize(context.Background(), &Attributes{User: admin, Verb: "delete", Resource: "pods"}); err != nil {
		t.Fatal(err)
	}
	for _, u := range []*User{nil, {Name: "somebody", Groups: []string{GroupMasters}}} {
		if err := (Loopback{}).Authorize(context.Background(), &Attributes{User: u}); err == nil {
			t.Fatalf("%v was let through", u)
		}
	}
}

func TestUserTravelsWithTheContext(t *testing.T) {
	if _, ok := UserFrom(context.Background()); ok {
		t.Fatal("a user out of nowhere")
	}
	if u, ok := UserFrom(WithUser(context.Background(), admin)); !ok || u != admin {
		t.Fatalf("got %v, %v", u, ok)
	}
}

func FuzzLoopbackHost(f *testing.F) {
	for _, s := range []string{"localhost:1", "[::1]:8", "127.1:1", "a.localhost", "[", "]:", "%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !IsLoopbackHost(host) {
			return
		}
		for _, bad := range []string{"/", "@", " ", "\x00", "\n", "?", "#"} {
			if strings.Contains(host, bad) {
				t.Fatalf("%q is taken for this machine", host)
			}
		}
	})
}
