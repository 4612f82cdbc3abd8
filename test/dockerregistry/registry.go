package dockerregistry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// User and Password are what a registry with Options.Auth asks for.
	User     = "petrel"
	Password = "open sesame"
	// entry is the line of an htpasswd file for both, in bcrypt.
	entry = User + `:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy`

	// patience is how long the program has to serve and to end.
	patience = 60 * time.Second
)

// Options say how a registry serves.
type Options struct {
	TLS, Auth bool
	// Command, when set, starts the program elsewhere: in a network namespace.
	Command func(name string, args ...string) *exec.Cmd
	// Dial reaches it there.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Registry is one that runs until the test ends.
type Registry struct {
	// Host is its name in references: 127.0.0.1 and a port.
	Host string
	// CA is the file of the authority that vouches for it.
	CA string
	// Transport reaches it.
	Transport *http.Transport

	scheme string
	auth   bool
}

// Start runs a registry.
func Start(t testing.TB, o Options) *Registry {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("docker-registry is not installed: test/deps.sh docker-registry")
		}
		t.Skip("docker-registry is not installed")
	}
	for try := 1; ; try++ {
		r := &Registry{scheme: "http", auth: o.Auth, Transport: &http.Transport{DialContext: o.Dial}}
		err := r.start(t, program, o)
		if err == nil {
			return r
		}
		if try == starts {
			t.Fatal(err)
		}
	}
}

// starts is how often a port is tried: another process may take it before the program does.
const starts = 3

// start configures a registry and runs it.
func (r *Registry) start(t testing.TB, program string, o Options) error {
	t.Helper()
	dir := t.TempDir()
	r.Host = freePort(t)
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp:\n  addr: %s\n",
		filepath.Join(dir, "data"), r.Host)
	if o.TLS {
		var cert, key string
		r.CA, cert, key = certify(t, dir)
		config += fmt.Sprintf("  tls: {certificate: %s, key: %s}\n", cert, key)
		r.scheme, r.Transport.TLSClientConfig = "https", trusting(t, r.CA)
	}
	if o.Auth {
		passwords := filepath.Join(dir, "htpasswd")
		write(t, passwords, entry+"\n")
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s}}\n", passwords)
	}
	file := filepath.Join(dir, "config.yml")
	write(t, file, config)
	command := exec.Command
	if o.Command != nil {
		command = o.Command
	}
	return r.serve(t, command(program, "serve", file))
}

// serve starts the program and waits until it answers.
func (r *Registry) serve(t testing.TB, cmd *exec.Cmd) error {
	t.Helper()
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		r.Transport.CloseIdleConnections()
		_ = cmd.Process.Kill() // it has nothing to finish
		<-ended
	})
	deadline := time.Now().Add(patience)
	for {
		resp, err := (&http.Client{Transport: r.Transport, Timeout: patience}).Get(r.scheme + "://" + r.Host + "/v2/")
		if err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("docker-registry ended: %s", log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("docker-registry does not serve: %w", err)
		}
	}
}

func trusting(t testing.TB, ca string) *tls.Config {
	t.Helper()
	raw, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	return &tls.Config{RootCAs: pool}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freePort is a loopback address that nobody listens at.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
