package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/petrelrun/petrel/controlplane/auth/jointoken"
	"github.com/petrelrun/petrel/controlplane/pki"
)

// secureAPI is an API over TLS that knows who asks, and keeps secrets.
type secureAPI struct {
	authority *pki.Authority
	dir       string // a control plane's data directory
	url       string
	secrets   []corev1.Secret
}

func newSecureAPI(t *testing.T) *secureAPI {
	t.Helper()
	a := &secureAPI{dir: t.TempDir()}
	var err error
	if a.authority, err = pki.Open(t.Context(), pki.Dir(filepath.Join(a.dir, TLSDir)), pki.ClusterCA, "petrel", time.Now()); err != nil {
		t.Fatal(err)
	}
	serving, err := pki.NewRenewing(a.authority, pki.Request{CommonName: "api", Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Usage: pki.Serving, Life: time.Hour}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := serving.Get()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(a)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.authority.Pool()}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	a.url = server.URL
	if err := os.WriteFile(filepath.Join(a.dir, "petrel.json"), []byte(`{"api":"`+a.url+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *secureAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if len(r.TLS.VerifiedChains) == 0 {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: 401, Reason: metav1.StatusReasonUnauthorized, Message: "shows no credential"})
		return
	}
	switch {
	case r.URL.Path == "/v1/apps":
		_, _ = io.WriteString(w, `{"apps":[]}`)
	case strings.HasSuffix(r.URL.Path, "/secrets") && r.Method == http.MethodPost:
		var s corev1.Secret
		_ = json.NewDecoder(r.Body).Decode(&s)
		s.Data = map[string][]byte{}
		for k, v := range s.StringData {
			s.Data[k] = []byte(v)
		}
		s.StringData = nil
		a.secrets = append(a.secrets, s)
		_ = json.NewEncoder(w).Encode(s)
	case strings.HasSuffix(r.URL.Path, "/secrets"):
		_ = json.NewEncoder(w).Encode(corev1.SecretList{Items: a.secrets})
	case r.Method == http.MethodDelete && len(a.secrets) > 0 && strings.HasSuffix(r.URL.Path, a.secrets[0].Name):
		a.secrets = a.secrets[1:]
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: 404, Reason: metav1.StatusReasonNotFound, Message: "not found"})
	}
}

// petrel runs a command line.
func petrel(t *testing.T, args ...string) (code int, out, diagnostics string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	streams := Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}
	code = Run(context.Background(), NewRoot("test", streams), args, &stderr)
	return code, stdout.String(), stderr.String()
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, diagnostics := petrel(t, args...)
	if code != 0 {
		t.Fatalf("petrel %s: exit code %d\n%s", strings.Join(args, " "), code, diagnostics)
	}
	return out
}

func TestCommandsWithCredentials(t *testing.T) {
	a := newSecureAPI(t)
	file := filepath.Join(t.TempDir(), "admin.yaml")
	config := must(t, "kubeconfig", "--data-dir", a.dir, "-n", "other")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Users []struct {
			User struct {
				Certificate []byte `json:"client-certificate-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal([]byte(config), &parsed); err != nil {
		t.Fatal(err)
	}
	cert, err := pki.ParseCertificate(parsed.Users[0].User.Certificate)
	if err != nil || cert.Subject.CommonName != "petrel:admin" || cert.Subject.Organization[0] != "system:masters" {
		t.Fatal(cert, err)
	}
	must(t, "ls", "--kubeconfig", file)
	t.Run("without credentials", func(t *testing.T) {
		code, _, diagnostics := petrel(t, "ls", "--kubeconfig", "", "--server", a.url)
		if code != exitUnreachable { // its authority is not known here either
			t.Fatalf("%d %s", code, diagnostics)
		}
	})
	t.Run("from the environment", func(t *testing.T) {
		t.Setenv(EnvKubeconfig, file)
		must(t, "ls")
	})
	t.Run("in the clear", func(t *testing.T) {
		withToken := strings.Replace(config, "  user:\n", "  user:\n    token: secretsecret\n", 1)
		other := filepath.Join(t.TempDir(), "token.yaml")
		if err := os.WriteFile(other, []byte(withToken), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, diagnostics := petrel(t, "ls", "--kubeconfig", other, "--server", "http://127.0.0.1:1")
		if code != exitUsage || !strings.Contains(diagnostics, "in the clear") || strings.Contains(diagnostics, "secretsecret") {
			t.Fatalf("%d %s", code, diagnostics)
		}
	})
	t.Run("files that are none", func(t *testing.T) {
		broken := filepath.Join(t.TempDir(), "broken.yaml")
		if err := os.WriteFile(broken, []byte("users: [secretsecret"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{broken, broken + "x", os.DevNull} {
			if code, _, diagnostics := petrel(t, "ls", "--kubeconfig", path); code != exitUsage || strings.Contains(diagnostics, "secretsecret") {
				t.Errorf("%s: %d %s", path, code, diagnostics)
			}
		}
		if code, _, diagnostics := petrel(t, "kubeconfig", "--data-dir", t.TempDir()); code != exitUsage || !strings.Contains(diagnostics, "speaks TLS") {
			t.Errorf("%d %s", code, diagnostics)
		}
	})
	t.Run("refused", func(t *testing.T) {
		anonymous := Kubeconfig(Login{Server: a.url, CA: a.authority.PEM(), Namespace: "default"})
		data, err := yaml.Marshal(anonymous)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "anonymous.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, diagnostics := petrel(t, "ls", "--kubeconfig", path)
		if code != exitRefused || !strings.Contains(diagnostics, "shows no credential") || !strings.Contains(diagnostics, "--kubeconfig") {
			t.Fatalf("%d %s", code, diagnostics)
		}
	})
	t.Run("tokens", func(t *testing.T) { tokens(t, a, file) })
}

// tokens makes, lists and deletes a token.
func tokens(t *testing.T, a *secureAPI, file string) {
	code, out, diagnostics := petrel(t, "token", "create", "--kubeconfig", file, "--ttl", "90m", "--description", "for the lab")
	token, err := jointoken.Parse(out)
	if code != 0 || err != nil || token.CAHash != a.authority.Hash() {
		t.Fatalf("%d %v %s", code, err, diagnostics)
	}
	if strings.Contains(diagnostics, token.Secret) || !strings.Contains(diagnostics, "petrel worker --server "+a.url) {
		t.Fatal(diagnostics)
	}
	if s := a.secrets[0]; s.Name != "bootstrap-token-"+token.ID || s.Type != corev1.SecretTypeBootstrapToken || string(s.Data["token-secret"]) != token.Secret {
		t.Fatalf("%+v", s)
	}
	must(t, "token", "create", "--kubeconfig", file, "--ttl", "0")
	list := must(t, "token", "list", "--kubeconfig", file)
	if !strings.Contains(list, token.ID) || !strings.Contains(list, "for the lab") || !strings.Contains(list, "for ever") || strings.Contains(list, token.Secret) {
		t.Fatal(list)
	}
	if asJSON := must(t, "token", "ls", "--kubeconfig", file, "-o", "json"); !strings.Contains(asJSON, `"id":"`+token.ID+`"`) || strings.Contains(asJSON, token.Secret) {
		t.Fatal(asJSON)
	}
	if got := must(t, "token", "delete", "--kubeconfig", file, token.String()); got != "token "+token.ID+" deleted\n" {
		t.Fatal(got)
	}
	for _, wrong := range [][]string{
		{"token", "delete", "--kubeconfig", file, token.ID}, {"token", "delete", "--kubeconfig", file, "NO" + token.Secret},
		{"token", "delete"}, {"token", "create", "--kubeconfig", file, "--ttl", "-1h"}, {"token", "create", "--kubeconfig", ""},
	} {
		code, _, diagnostics := petrel(t, wrong...)
		if code == 0 || strings.Contains(diagnostics, token.Secret) {
			t.Errorf("%v: %d %s", wrong, code, diagnostics)
		}
	}
}
