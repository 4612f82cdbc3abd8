package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/petrelrun/petrel/lab/machine"
)

// patience bounds each wait.
const patience = 60 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// host is one machine.
type host struct {
	*machine.Machine
	t    testing.TB
	dir  string
	addr netip.Addr
	self string
}

func boot(t testing.TB, on *machine.Switch, n int) *host {
	t.Helper()
	dir := t.TempDir()
	name := fmt.Sprintf("proxy-%d", n)
	m, err := machine.Boot(t.Context(), machine.Config{
		Name: name, Group: fmt.Sprintf("petrel-proxy-test-%d/%s", os.Getpid(), name), Log: filepath.Join(dir, "init.log"),
	})
	if errors.Is(err, machine.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		for _, group := range m.Groups {
			if _, err := os.Stat(group); err == nil {
				t.Errorf("%s is left", group)
			}
			_ = os.Remove(filepath.Dir(group))
		}
	})
	addrs := on.Links[0].Host(n)
	if err := on.Plug(m.Place, 0, addrs); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &host{m, t, dir, addrs[0], self}
}

// process is a program that runs on a machine.
type process struct {
	t    testing.TB
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// start runs a program until the test ends; its output is shown if the test fails.
func (h *host) start(name, path string, env []string, args ...string) *process {
	h.t.Helper()
	log := filepath.Join(h.dir, name+".log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer out.Close()
	cmd := &exec.Cmd{Path: path, Args: append([]string{path}, args...), Env: env, Stdout: out, Stderr: out}
	if err := h.Start(cmd, nil); err != nil {
		h.t.Fatal(err)
	}
	p := &process{t: h.t, name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	h.t.Cleanup(func() {
		p.kill()
		if raw, _ := os.ReadFile(log); h.t.Failed() {
			h.t.Logf("%s:\n%s", name, raw)
		}
	})
	return p
}

func (p *process) signal(s os.Signal) {
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Errorf("%s did not end at %v", p.name, s)
	}
}

func (p *process) kill() { p.signal(syscall.SIGKILL) }
func (p *process) stop() { p.signal(syscall.SIGTERM) }

// serve starts an endpoint of that name and answers where it is.
func (h *host) serve(name string, port uint16) netip.AddrPort {
	h.t.Helper()
	at := netip.AddrPortFrom(h.addr, port)
	h.start(name, h.self, []string{roleVariable + "=serve " + name + " " + at.String()})
	return at
}

// ask connects to the address n times and answers what was said.
func (h *host) ask(n int, at netip.AddrPort) []string {
	h.t.Helper()
	out, err := h.play(fmt.Sprintf("ask %d %s", n, at))
	if err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	return strings.Split(out, "\n")
}

// play has a program on the machine play a role, and answers what it printed.
func (h *host) play(role string) (string, error) {
	h.t.Helper()
	var out bytes.Buffer
	cmd := &exec.Cmd{Path: h.self, Args: []string{h.self}, Env: []string{roleVariable + "=" + role}, Stdout: &out, Stderr: &out}
	if err := h.Start(cmd, nil); err != nil {
		h.t.Fatal(err)
	}
	err := cmd.Wait()
	return strings.TrimSpace(out.String()), err
}

// answers waits until all of these, and nobody else, answer at the address. What comes after a name is cut off.
func (h *host) answers(at netip.AddrPort, names ...string) []string {
	h.t.Helper()
	var lines []string
	slices.Sort(names)
	eventually(h.t, fmt.Sprintf("%v at %v", names, at), func() bool {
		lines = h.ask(16*len(names), at)
		seen := map[string]bool{}
		for _, line := range lines {
			name, _, _ := strings.Cut(line, " ")
			seen[name] = true
		}
		var got []string
		for name := range seen {
			got = append(got, name)
		}
		slices.Sort(got)
		return slices.Equal(got, names)
	})
	return lines
}

// refuses waits until clients are refused.
func (h *host) refuses(at netip.AddrPort) {
	h.t.Helper()
	eventually(h.t, fmt.Sprint("refusal at ", at), func() bool { return strings.Contains(h.ask(1, at)[0], "connection refused") })
}

// get asks an HTTP server of the machine.
func (h *host) get(url string) (status int, body string) {
	h.t.Helper()
	client := &http.Client{Timeout: askTimeout, Transport: &http.Transport{DisableKeepAlives: true, DialContext: h.dial}}
	answer, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(raw)
}

func (h *host) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	return h.Dial(ctx, at)
}

// api starts a control plane on the machine and answers a client of it.
func (h *host) api(listen string, flags ...string) kubernetes.Interface {
	h.t.Helper()
	h.start("controlplane", petrel, nil, append([]string{"controlplane", "--data-dir", filepath.Join(h.dir, "data"), "--log-file", "-", "--listen", listen}, flags...)...)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://" + listen, Dial: h.dial, QPS: -1})
	if err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, "the API", func() bool {
		_, err := client.Discovery().ServerVersion()
		return err == nil
	})
	return client
}
