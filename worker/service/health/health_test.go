package health

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	discard = slog.New(slog.DiscardHandler)
	now     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// patience bounds each wait.
const patience = 60 * time.Second

func TestHealth(t *testing.T) {
	long := now.Add(-time.Hour)
	for name, test := range map[string]struct {
		updated, waiting time.Time
		eligible         bool
		healthz, livez   int
	}{
		"starting":            {time.Time{}, long, true, 200, 200},
		"nothing to do":       {long, time.Time{}, true, 200, 200},
		"a change on its way": {long, now.Add(-lagTimeout + 1), true, 200, 200},
		"behind":              {long, now.Add(-lagTimeout), true, 503, 503},
		"not eligible":        {long, time.Time{}, false, 503, 200},
		"neither":             {long, long, false, 503, 503},
	} {
		h, err := New(Config{
			Progress: func() (time.Time, time.Time) { return test.updated, test.waiting },
			Eligible: func() bool { return test.eligible }, Now: func() time.Time { return now }, Logger: discard,
		})
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]int{"/healthz": test.healthz, "/livez": test.livez, "/": 404} {
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
			if answer.Code != want {
				t.Errorf("%s: %s is %d, want %d", name, path, answer.Code, want)
			}
			if want == http.StatusNotFound {
				continue
			}
			var body map[string]any
			if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if _, told := body["nodeEligible"]; told != (path == "/healthz") {
				t.Errorf("%s: %s tells %v", name, path, body)
			}
			if want == http.StatusOK && body["lastUpdated"] != now.Format(time.RFC3339) {
				t.Errorf("%s: last updated at %v", name, body["lastUpdated"])
			}
			if body["healthy"] != (test.livez == 200) {
				t.Errorf("%s: healthy is %v", name, body["healthy"])
			}
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
}

func TestServe(t *testing.T) {
	h, err := New(Config{Progress: func() (time.Time, time.Time) { return now, time.Time{} }, Eligible: func() bool { return true }, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	addr := freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, addr.String()) }()
	if code, _, _ := get(t, "http://"+addr.String()+"/livez"); code != http.StatusOK {
		t.Errorf("livez is %d", code)
	}
	if err := h.Serve(ctx, addr.String()); err == nil {
		t.Error("two listen at one address")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// get asks until somebody answers.
func get(t *testing.T, url string) (int, http.Header, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		answer, err := client.Get(url)
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			continue
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header, string(body)
	}
}

func TestChecks(t *testing.T) {
	var healthy atomic.Bool
	healthy.Store(true)
	failed := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	checks := NewChecks(ctx, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, healthy.Load,
		func(name types.NamespacedName, err error) { failed <- name.String() + ": " + err.Error() }, discard)
	defer checks.Wait()
	defer cancel()
	name, at := types.NamespacedName{Namespace: "shop", Name: "web"}, freePort(t)
	url := "http://" + at.String() + "/anything"
	checks.Set(name, at.Port(), 2)
	code, header, body := get(t, url)
	want := "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}\n"
	if code != http.StatusOK || body != want || header.Get("X-Load-Balancing-Endpoint-Weight") != "2" || header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %q", code, header, body)
	}
	checks.Set(name, at.Port(), 0)
	if code, header, body = get(t, url); code != http.StatusServiceUnavailable || !strings.Contains(body, `"localEndpoints": 0`) || header.Get("X-Load-Balancing-Endpoint-Weight") != "0" {
		t.Errorf("without endpoints: %d %v %q", code, header, body)
	}
	checks.Set(name, at.Port(), 1)
	healthy.Store(false)
	if code, _, body = get(t, url); code != http.StatusServiceUnavailable || !strings.Contains(body, `"serviceProxyHealthy": false`) {
		t.Errorf("with a proxy that is not well: %d %q", code, body)
	}
	next := freePort(t)
	checks.Set(name, next.Port(), 1)
	get(t, "http://"+next.String())
	wantClosed(t, at)
	checks.Set(types.NamespacedName{Namespace: "shop", Name: "late"}, next.Port(), 1) // the port is taken
	select {
	case text := <-failed:
		if !strings.HasPrefix(text, "shop/late: health check node port") {
			t.Errorf("told %q", text)
		}
	case <-time.After(patience):
		t.Error("nobody was told of a port that is taken")
	}
	checks.Drop(name)
	checks.Drop(types.NamespacedName{Name: "never was"})
}

func wantClosed(t *testing.T, at netip.AddrPort) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", at.String())
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatalf("%s still listens", at)
		}
	}
}
