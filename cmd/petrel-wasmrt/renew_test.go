package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
	"github.com/petrelrun/petrel/worker/steer"
)

// secluded is a thread in a network namespace of its own, in which connections are steered. What it starts is there, too.
type secluded struct {
	t      *testing.T
	netns  string
	socket string
	calls  chan func()
}

func newSecluded(t *testing.T) *secluded {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: network namespaces cannot be made")
	}
	s := &secluded{t: t, socket: filepath.Join(t.TempDir(), "steer"), calls: make(chan func())}
	ready := make(chan error)
	go s.thread(ready)
	s.must(<-ready)
	t.Cleanup(func() { close(s.calls) })
	s.steer()
	return s
}

// must skips by name what a machine does not let anybody do.
func (s *secluded) must(err error) {
	s.t.Helper()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
		s.t.Skipf("this machine does not let the test run: %v", err)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// thread runs calls inside; it is never unlocked, so that it ends with them.
func (s *secluded) thread(ready chan<- error) {
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = loopbackUp()
	}
	s.netns = fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	ready <- err
	for f := range s.calls {
		f()
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

func (s *secluded) in(f func()) {
	done := make(chan struct{})
	s.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// steer begins to, as a node's worker does.
func (s *secluded) steer() {
	root := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(root); err != nil {
		root = "/sys/fs/cgroup"
	}
	cgroup := filepath.Join(root, fmt.Sprintf("petrel-renew-%d-%d", os.Getpid(), rand.Uint32()))
	s.must(os.Mkdir(cgroup, 0o755))
	s.t.Cleanup(func() { s.must(os.Remove(cgroup)) })
	decided, log := make(chan struct{}), slog.New(slog.DiscardHandler)
	service, err := steer.New(steer.Config{Socket: s.socket, Pinned: true, NetNS: s.netns, Decided: decided, Logger: log})
	s.must(err)
	proxy, err := ebpfproxy.New(ebpfproxy.Config{CgroupPath: cgroup, Logger: log})
	s.must(err)
	s.must(proxy.Open(context.Background()))
	end, err := service.Opened(context.Background(), proxy)
	s.must(err)
	close(decided)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		s.must(errors.Join(<-ended, end(), proxy.Close()))
	})
}

// dial connects from inside.
func (s *secluded) dial(_ context.Context, network, address string) (c net.Conn, err error) {
	s.in(func() { c, err = net.DialTimeout(network, address, 60*time.Second) })
	return c, err
}

// ask sends a request on a connection of its own.
func (s *secluded) ask(p *pod) error {
	client := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: s.dial}}
	resp, err := client.Get("http://" + p.ip + ":8080/")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
		return fmt.Errorf("%s answers %q: %w", p.ip, body, errors.Join(err, errors.New("want hello")))
	}
	return nil
}

// nextBinary builds the program as its next version.
func nextBinary(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "petrel-wasmrt")
	if err := build(raceEnv, append(raceFlags, "-ldflags=-X main.version=next", "-o", out, ".")...); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(out); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // runners have users of their own
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestRunnersAreRenewed: the next version of the program takes over pods of the one before, and nobody who asks them is
// refused. What serves no requests stays where it is.
func TestRunnersAreRenewed(t *testing.T) {
	s := newSecluded(t)
	next := nextBinary(t)
	n := newNode(t)
	n.kill()
	n.flags = append(n.flags, "--steer-socket", s.socket)
	s.relay(strings.TrimPrefix(n.reg.url, "http://"))
	s.in(n.start)
	server, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	slow, _ := n.reg.push("x/slow", wasmtest.Serve("hello", "begun\n", 2*time.Second))
	task, _ := n.reg.push("x/task", taskWasm)
	for _, image := range []string{server, slow, task} {
		n.pull(image)
	}
	var pods []*pod
	ids := map[*pod]string{}
	for range 20 {
		p := n.run(n.podConfig("default"))
		ids[p] = n.launch(p, containerConfig("web", server))
		pods = append(pods, p)
	}
	late := n.run(n.podConfig("default"))
	n.launch(late, containerConfig("slow", slow))
	jobs := n.run(n.podConfig("jobs"))
	job := n.launch(jobs, containerConfig("job", task, "spin", ""))
	created := n.run(n.podConfig("default"))
	createdID := n.create(created, containerConfig("web", server))
	before, started := n.runners(), n.status(ids[pods[0]]).StartedAt

	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	var asked atomic.Int64
	var failed sync.Map
	for i := range 2 {
		load.Go(func() {
			for j := i; ctx.Err() == nil; j++ {
				if err := s.ask(pods[j%len(pods)]); err != nil {
					failed.Store(err.Error(), true)
				}
				asked.Add(1)
			}
		})
	}
	underWay := make(chan error, 1)
	go func() { underWay <- s.ask(late) }()
	eventually(t, "the slow request to begin", func() bool {
		b, err := os.ReadFile(filepath.Join(late.config.LogDirectory, "slow", "0.log"))
		return err == nil && strings.Contains(string(b), "begun")
	})
	n.kill()
	s.in(func() { n.startAs(next) })
	eventually(t, "another runner", func() bool { return n.runners()["default"].PID != before["default"].PID })
	if err := <-underWay; err != nil {
		t.Errorf("the request that was under way: %v", err)
	}
	awaitGone(t, before["default"].PID)
	settled := asked.Load()
	eventually(t, "more requests", func() bool { return asked.Load() > settled+100 })
	cancel()
	load.Wait()
	failed.Range(func(err, _ any) bool { t.Error(err); return true })
	t.Logf("%d requests", asked.Load())

	if after := n.runners(); after["jobs"].PID != before["jobs"].PID {
		t.Error("a command's runner was replaced")
	}
	if st := n.status(job); st.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Errorf("job: %+v", st)
	}
	if st := n.status(ids[pods[0]]); st.State != runtimev1.ContainerState_CONTAINER_RUNNING || st.StartedAt != started {
		t.Errorf("web: %+v", st)
	}
	if _, err := n.rt.StartContainer(n.ctx(), &runtimev1.StartContainerRequest{ContainerId: createdID}); err != nil {
		t.Error(err)
	}
	if err := s.ask(created); err != nil {
		t.Error(err)
	}
	// What was taken over is fully in hand.
	if _, err := n.rt.StopContainer(n.ctx(), &runtimev1.StopContainerRequest{ContainerId: ids[pods[1]], Timeout: 5}); err != nil {
		t.Error(err)
	}
	if err := s.ask(pods[1]); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a pod that was stopped: %v", err)
	}
	n.kill() // and is found again
	s.in(func() { n.startAs(next) })
	if st := n.status(ids[pods[2]]); st.State != runtimev1.ContainerState_CONTAINER_RUNNING {
		t.Errorf("after a restart: %+v", st)
	}
	if err := s.ask(pods[2]); err != nil {
		t.Error(err)
	}
}

// relay has what listens at an address outside be there inside, too.
func (s *secluded) relay(address string) {
	s.t.Helper()
	var l net.Listener
	var err error
	s.in(func() { l, err = net.Listen("tcp", address) })
	s.must(err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			inside, err := l.Accept()
			if err != nil {
				return
			}
			outside, err := net.Dial("tcp", address)
			if err != nil {
				_ = inside.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{inside, outside}, {outside, inside}} {
				serving.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	s.t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
}

// startAs starts the supervisor from another program.
func (n *node) startAs(program string) {
	n.t.Helper()
	was := binary
	binary = program
	defer func() { binary = was }()
	n.start()
}
