package apiserver

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/petrelrun/petrel/controlplane/auth"
	"github.com/petrelrun/petrel/controlplane/pki"
)

func TestRefusedLoginsAreToldAndCounted(t *testing.T) {
	var log bytes.Buffer
	l := newLogins(slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
	r := httptest.NewRequest(http.MethodGet, "/api/v1/secrets", nil)
	refusal := &auth.Refusal{Status: http.StatusUnauthorized, Message: "the bootstrap token abcdef is not known"}
	for range 5 * refusalBurst {
		l.observe(r, refusal)
	}
	l.observe(r, nil)
	l.observe(r, errors.New("the store is away"))
	for result, want := range map[string]float64{loginFailure: 5 * refusalBurst, loginSuccess: 1, loginError: 1} {
		if got := testutil.ToFloat64(l.attempts.WithLabelValues(result)); got != want {
			t.Errorf("%v of %s, want %v", got, result, want)
		}
	}
	lines := strings.Count(log.String(), "\n")
	if lines < refusalBurst || lines > 2*refusalBurst {
		t.Errorf("%d lines of %d refusals", lines, 5*refusalBurst)
	}
	for _, part := range []string{"192.0.2.1", "/api/v1/secrets", "abcdef is not known"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not tell %q: %s", part, strings.SplitN(log.String(), "\n", 2)[0])
		}
	}
}

// TestRefusalsByTheServerAreCounted asks the whole server without a credential.
func TestRefusalsByTheServerAreCounted(t *testing.T) {
	ours := authority(t)
	base := secure(t, ours)
	resp, err := over(t, ours, nil).Get(base + "/api/v1/pods")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	admin := over(t, ours, &pki.Request{CommonName: "admin", Organization: []string{auth.GroupMasters}, Usage: pki.Client})
	if resp, err = admin.Get(base + "/metrics"); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(body), `authentication_attempts{result="failure"} 1`) {
		t.Errorf("%s: the refusal is not counted", resp.Status)
	}
}
