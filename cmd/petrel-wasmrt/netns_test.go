package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// TestNetworkNamespace: a sandbox lives in a namespace that somebody else made. It is reached there at localhost and at the
// namespace's address, shares ports with who is in it, and reaches from there what it is granted, also after the supervisor
// was killed.
func TestNetworkNamespace(t *testing.T) {
	s := newSecludedPlace(t)
	n := newNode(t, "--trust-annotations")
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	task, _ := n.reg.push("x/task", taskWasm)
	n.pull(server)
	n.pull(task)
	in := func() *runtimev1.PodSandboxConfig {
		c := n.podConfig("default")
		delete(c.Annotations, "petrel.run/pod-ip")
		c.Annotations["petrel.run/netns"] = s.netns
		c.Annotations["petrel.run/egress"] = "tcp:127.0.0.1:7000"
		return c
	}
	config := in()
	p := n.run(config)
	r, err := n.rt.PodSandboxStatus(n.ctx(), &runtimev1.PodSandboxStatusRequest{PodSandboxId: p.id})
	if err != nil || r.Status.Network.GetIp() != spaceAddress {
		t.Errorf("the sandbox's address is %q, %v", r.GetStatus().GetNetwork().GetIp(), err)
	}
	id := n.launch(p, containerConfig("web", server))
	answers := func(when string) {
		t.Helper()
		for _, host := range []string{"127.0.0.1", spaceAddress} {
			if body, err := s.get("http://" + host + ":8080/"); err != nil || body != "hello" {
				t.Errorf("%s: %s answers %q, %v", when, host, body, err)
			}
		}
	}
	answers("started")
	if c, err := net.DialTimeout("tcp", "127.0.0.1:8080", time.Second); err == nil {
		_ = c.Close() // somebody else may listen there, but not the guest
		if code, body, err := askURL("http://127.0.0.1:8080/"); err == nil && code == http.StatusOK && body == "hello" {
			t.Error("it listens outside, too")
		}
	}

	t.Run("a port that is taken", func(t *testing.T) {
		other := containerConfig("other", server)
		id := n.create(p, other)
		_, err := n.rt.StartContainer(n.ctx(), &runtimev1.StartContainerRequest{ContainerId: id})
		if err == nil || !strings.Contains(err.Error(), "port 8080: another program of the pod listens there") {
			t.Errorf("started: %v", err)
		}
		if st := n.exited(id); st.Reason != "StartError" {
			t.Errorf("it is %+v", st)
		}
	})
	neighbour := s.serve("127.0.0.1:7000", "from the neighbour\n")
	dial := func(when string) {
		t.Helper()
		p := n.run(in())
		id := n.launch(p, containerConfig("client", task, "dial", "127.0.0.1:7000"))
		n.exited(id)
		if got := n.logOf(p, "client"); !strings.Contains(got, "from the neighbour") {
			t.Errorf("%s: the guest says %q", when, got)
		}
	}
	dial("at first")
	n.kill()
	answers("without a supervisor")
	n.start()
	answers("after a restart")
	dial("after a restart")
	neighbour()

	if _, err := n.rt.StopContainer(n.ctx(), &runtimev1.StopContainerRequest{ContainerId: id, Timeout: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.get("http://127.0.0.1:8080/"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after its end: %v", err)
	}
	again := containerConfig("web", server)
	again.Metadata.Attempt = 1
	n.launch(p, again)
	answers("another attempt")
	if _, err := n.rt.StopPodSandbox(n.ctx(), &runtimev1.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.get("http://127.0.0.1:8080/"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after the sandbox's end: %v", err)
	}
}

func TestNetworkNamespaceRefused(t *testing.T) {
	n := newNode(t)
	run := func(path string) error {
		c := n.podConfig("default")
		c.Annotations["petrel.run/netns"] = path
		_, err := n.rt.RunPodSandbox(n.ctx(), &runtimev1.RunPodSandboxRequest{Config: c})
		return err
	}
	want := func(code codes.Code, err error) {
		t.Helper()
		if status.Code(err) != code {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	want(codes.PermissionDenied, run("/proc/self/ns/net"))
	n.kill()
	n.flags = append(n.flags, "--trust-annotations")
	n.start()
	want(codes.InvalidArgument, run("../net"))
	want(codes.FailedPrecondition, run("/proc/self/ns/uts"))
	want(codes.FailedPrecondition, run(filepath.Join(t.TempDir(), "none")))
}

// spaceAddress is the namespace's, on its loopback device.
const spaceAddress = "10.99.0.7"

// newSecludedPlace is a namespace without anybody who steers.
func newSecludedPlace(t *testing.T) *secluded {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: network namespaces cannot be made")
	}
	s := &secluded{t: t, calls: make(chan func())}
	ready := make(chan error)
	go s.thread(ready)
	s.must(<-ready)
	t.Cleanup(func() { close(s.calls) })
	s.in(func() {
		s.netns = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		s.must(addAddress(spaceAddress))
	})
	return s
}

func addAddress(ip string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	if err := ifr.SetInet4Addr(net.ParseIP(ip).To4()); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr)
}

func (s *secluded) get(url string) (string, error) {
	client := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.dial}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// serve greets whoever connects inside, until it is stopped.
func (s *secluded) serve(address, greeting string) (stop func()) {
	s.t.Helper()
	var l net.Listener
	var err error
	s.in(func() { l, err = net.Listen("tcp", address) })
	s.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, greeting)
			_ = c.Close()
		}
	}()
	return func() {
		_ = l.Close()
		<-done
	}
}
