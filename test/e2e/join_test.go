package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/test/cluster"
)

// TestJoining runs a control plane that speaks TLS with the real kubectl, and a worker that joins it by a token: what
// is refused, what works, what goes on without the token, and that no secret is written where people read.
func TestJoining(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(suite.dir, folderName(t))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Certificates that last a minute are renewed while the test runs. A third of that is what whoever was killed has to
	// come back in.
	j, err := cluster.StartJoined(t.Context(), cluster.Options{Dir: dir, Binaries: suite.tree.Bin()}, "--cluster-signing-duration", "60s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, part := range []string{"controlplane", "n1"} {
				t.Logf("--- the end of %s\n%s", j.LogPath(part), cluster.Tail(j.LogPath(part), 60))
			}
		}
		if err := j.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	token := strings.TrimSpace(petrelRun(t, j, "token", "create", "--ttl", "10m", "--description", "test"))
	_, bootstrap, _ := strings.Cut(token, "::")
	_, bootstrap, _ = strings.Cut(bootstrap, "::")
	id, secret, _ := strings.Cut(bootstrap, ".")

	t.Run("who shows nothing is refused", func(t *testing.T) { nothingShown(t, j, bootstrap) })
	if err := j.Join(t.Context(), "n1", token); err != nil {
		t.Fatal(err)
	}
	w := worldIn(t, j.Cluster())
	w.kubectl("wait", "node", "n1", "--for=create", "--timeout=150s")
	w.kubectl("wait", "node", "n1", "--for=condition=Ready", "--timeout=150s")
	matches(t, w.kubectl("auth", "whoami"), `^Username +petrel:admin$`)
	t.Run("machines that may not join", func(t *testing.T) { refusedMachines(t, j, token) })
	t.Run("without the token", func(t *testing.T) {
		contains(t, petrelRun(t, j, "token", "delete", id), "deleted")
		if err := j.Worker.Signal(os.Kill); err != nil {
			t.Fatal(err)
		}
		_ = j.Worker.Wait(t.Context()) // it ends by our signal, which Wait calls an error
		if err := j.Join(t.Context(), "n1", ""); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an app", func(t *testing.T) {
		w := w.in(t)
		w.apply(web)
		w.rollout("web")
		w.becomes(w.appURL("web"), 200, "probe one")
		// The log comes from the node, over TLS with both certificates.
		w.kubectl("logs", "deployment/web")
		contains(t, w.kubectl("get", "--raw", "/api/v1/nodes/n1/proxy/metrics"), "petrel_worker_pods")
		// Uploaded with the administrator's certificate, pulled with the node's.
		module, err := suite.tree.Guest(t.Context(), "probe", true)
		if err != nil {
			t.Fatal(err)
		}
		petrelRun(t, j, "deploy", module, "--name", "site", "-n", w.ns, "--timeout", "170s")
		contains(t, petrelRun(t, j, "ls", "-n", w.ns), "site")
		petrelRun(t, j, "logs", "site", "-n", w.ns)
	})
	t.Run("certificates are renewed", func(t *testing.T) { renewed(t, j) })
	t.Run("the control plane comes back", func(t *testing.T) {
		killProcess(w.in(t), j.ControlPlane)
		if err := j.UpControlPlane(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := w.in(t)
		w.kubectl("scale", "deployment/web", "--replicas=2")
		w.rollout("web")
	})
	t.Run("nothing secret is told", func(t *testing.T) { nothingTold(t, j, secret) })
}

func petrelRun(t *testing.T, j *cluster.Joined, args ...string) string {
	t.Helper()
	out, err := j.Run(t.Context(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// nothingShown asks the API without a credential, and with a bootstrap token, which is for joining only.
func nothingShown(t *testing.T, j *cluster.Joined, bootstrap string) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // what is refused is of no use to an impostor
	}}
	for _, tt := range []struct {
		path, bearer string
		code         int
	}{
		{"/readyz", "", 200}, {"/version", "", 200},
		{"/api/v1/nodes", "", 401}, {"/v2/", "", 401}, {"/v1/apps", "", 401}, {"/metrics", "", 401}, {"/api", "wrong", 401},
		{"/api/v1/nodes", bootstrap, 403}, {"/api/v1/secrets", bootstrap, 403}, {"/v2/", bootstrap, 403}, {"/v1/apps", bootstrap, 403},
		{"/apis/certificates.k8s.io/v1/certificatesigningrequests", bootstrap, 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, j.API+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.bearer != "" {
			req.Header.Set("Authorization", "Bearer "+tt.bearer)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		var status struct{ Kind string }
		if err != nil || res.StatusCode != tt.code || tt.code >= 400 && (json.Unmarshal(body, &status) != nil || status.Kind != "Status") {
			t.Errorf("%s (token: %t): %s %s %v", tt.path, tt.bearer != "", res.Status, body, err)
		}
	}
	res, err := http.Get("http" + strings.TrimPrefix(j.API, "https") + "/readyz")
	if err == nil {
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("in the clear: %s", res.Status)
		}
	}
}

// refusedMachines tries what does not join, and wants to hear why and what to do.
func refusedMachines(t *testing.T, j *cluster.Joined, token string) {
	parts := strings.Split(token, "::")
	for name, tt := range map[string]struct {
		dir, node, token string
		says             []string
	}{
		"another cluster's token": {"x1", "x1", parts[0] + "::" + strings.Repeat("0", 64) + "::" + parts[2], []string{"not of the token's cluster", "petrel token create"}},
		"a wrong secret":          {"x2", "x2", parts[0] + "::" + parts[1] + "::" + parts[2][:7] + strings.Repeat("z", 16), []string{"is not known", "petrel token create"}},
		"a name that is taken":    {"x3", "n1", token, []string{`there is a node "n1" already`, "--node-name", "kubectl delete node n1"}},
		"no token":                {"x4", "x4", "", []string{"has not joined a cluster", "petrel token create"}},
		"no token at all":         {"x5", "x5", "hello", []string{"a join token has the form"}},
	} {
		t.Run(name, func(t *testing.T) {
			said, err := j.JoinFails(t.Context(), tt.dir, tt.node, tt.token)
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, want := range tt.says {
				contains(t, said, want)
			}
			if strings.Contains(said, parts[2][7:]) {
				t.Errorf("the secret is told: %s", said)
			}
		})
	}
}

// renewed waits until both of the node's certificates are others than before.
func renewed(t *testing.T, j *cluster.Joined) {
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(j.DataDir("n1"), "identity", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, name := range []string{"client.pem", "serving.pem"} {
		before := read(name)
		for deadline := time.Now().Add(patience); read(name) == before; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not renewed", name)
			}
		}
	}
}

// nothingTold reads every log and every file that others may read.
func nothingTold(t *testing.T, j *cluster.Joined, secret string) {
	var key string
	data, err := os.ReadFile(filepath.Join(j.DataDir("controlplane"), "tls", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	key = strings.Split(string(data), "\n")[1]
	err = filepath.WalkDir(j.Dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 == 0 && !strings.HasSuffix(path, ".log") || strings.Contains(path, "kube-cache") || info.Size() > 16<<20 {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, s := range []string{secret, key, "PRIVATE KEY"} {
			if strings.Contains(string(content), s) {
				t.Errorf("%s tells a secret (mode %04o)", path, info.Mode().Perm())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
