package httpabi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/module/moduletest"
)

var outboundGuest struct {
	once sync.Once
	wasm []byte
}

func outbound(t *testing.T, cfg Config, grants ...string) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a Go guest")
	}
	outboundGuest.once.Do(func() { outboundGuest.wasm = moduletest.BuildGo(t, "testdata/outbound", true) })
	policy, err := egress.Parse(grants)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Spec.Egress = policy
	return serve(t, outboundGuest.wasm, cfg)
}

// far is the server that guests ask.
func far(t *testing.T, mux *http.ServeMux) string {
	t.Helper()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func TestOutbound(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Far", "yes")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "hello from far")
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.FormValue("to"), http.StatusFound)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(w, r.Body)
	})
	second := make(chan struct{})
	mux.HandleFunc("/pair", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("n") == "0" {
			select {
			case <-second:
			case <-time.After(60 * time.Second):
			}
		} else {
			close(second)
		}
		_, _ = fmt.Fprintf(w, "answer %s", r.FormValue("n"))
	})
	mux.HandleFunc("/never", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	at := far(t, mux)
	s := outbound(t, Config{}, "tcp:127.0.0.1:*")
	ask := func(path, to string) (*http.Response, string) {
		t.Helper()
		return s.get(t, path+"?url="+url.QueryEscape(to))
	}

	if resp, body := ask("/fetch", at+"/hello"); resp.StatusCode != 418 || body != "hello from far" || resp.Header.Get("X-Far") != "yes" {
		t.Errorf("fetch: %d %q", resp.StatusCode, body)
	}
	if resp, body := ask("/fetch", at+"/redirect?to=/hello"); resp.StatusCode != 418 || body != "hello from far" {
		t.Errorf("a redirect: %d %q", resp.StatusCode, body)
	}
	for name, to := range map[string]string{
		"an address that is not granted":        "http://127.0.0.2:1/",
		"a redirect to what is not granted":     at + "/redirect?to=" + url.QueryEscape("http://10.0.0.1/"),
		"another scheme than the grant's ports": "https://[::1]/",
	} {
		if resp, body := ask("/fetch", to); resp.StatusCode != 502 || !strings.Contains(body, "denied true") || !strings.Contains(body, "is not granted") {
			t.Errorf("%s: %d %q", name, resp.StatusCode, body)
		}
	}
	big := strings.Repeat("0123456789", 50_000)
	resp, body := s.do(t, s.request(t, http.MethodPost, "/relay?url="+url.QueryEscape(at+"/echo"), strings.NewReader(big)))
	if want := big + " 500000 <nil>"; resp.StatusCode != 200 || body != want {
		t.Errorf("relay: %d, %d bytes, end %q", resp.StatusCode, len(body), body[max(0, len(body)-50):])
	}
	if _, body := ask("/both", at+"/pair"); body != "answer 0 answer 1" {
		t.Errorf("two at a time: %q", body)
	}
	if _, body := ask("/timeout", at+"/never"); body != "true in time true" {
		t.Errorf("a timeout of the guest's: %q", body)
	}
	if _, body := ask("/leak", at+"/hello"); body != "hel" {
		t.Errorf("a leak: %q", body)
	}
}

// A guest that waits for a server that says nothing is ended with its request's time, and so is what it has open.
func TestOutboundWallTime(t *testing.T) {
	mux := http.NewServeMux()
	ended := make(chan struct{}, 1)
	mux.HandleFunc("/never", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		ended <- struct{}{}
	})
	at := far(t, mux)
	s := outbound(t, Config{WallTime: 300 * time.Millisecond}, "*")
	resp, body := s.get(t, "/fetch?url="+url.QueryEscape(at+"/never"))
	wantProblem(t, resp, body, 504, CodeWallTime, "300ms")
	select {
	case <-ended:
	case <-time.After(60 * time.Second):
		t.Error("the exchange outlives its request")
	}
}

func TestOutboundWithoutGrants(t *testing.T) {
	s := outbound(t, Config{})
	resp, body := s.get(t, "/fetch?url="+url.QueryEscape("http://127.0.0.1:1/"))
	if resp.StatusCode != 502 || !strings.Contains(body, "denied true") || !strings.Contains(body, "http:127.0.0.1:1") {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}
