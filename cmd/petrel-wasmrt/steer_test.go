package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/steering"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// steerBook writes down which sockets are to get which addresses' connections, and steers none.
type steerBook struct {
	t      *testing.T
	socket string
	stop   func()

	mu sync.Mutex
	at map[netip.AddrPort]uint64 // → a socket's cookie
}

func (b *steerBook) Listen(at netip.AddrPort, fd int) error {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at[at] = cookie
	return err
}

func (b *steerBook) Remove(at netip.AddrPort) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.at, at)
	return nil
}

func (b *steerBook) Addresses() []netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.at))
}

// of answers the pod's socket; 0: none.
func (b *steerBook) of(p *pod) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at[podAddress(p)]
}

func podAddress(p *pod) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(p.ip), 8080)
}

func newSteerBook(t *testing.T) *steerBook {
	t.Helper()
	dir, err := os.MkdirTemp("", "steer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &steerBook{t: t, socket: filepath.Join(dir, "s"), at: map[netip.AddrPort]uint64{}}
}

// serve begins to take what supervisors say, or to say that there is nothing to be had.
func (b *steerBook) serve(off error) {
	b.t.Helper()
	server, err := steering.NewServer(steering.ServerConfig{Socket: b.socket, Logger: slog.New(slog.DiscardHandler),
		Steerer: func(context.Context) (steering.Steerer, error) { return b, off }})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(b.stop)
}

// nobodys is an address that goes when the supervisor has said what there is.
var nobodys = netip.MustParseAddrPort("127.42.0.99:99")

// leave has an address that is nobody's.
func (b *steerBook) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at[nobodys] = 1
}

// awaitSettled waits until the supervisor, which was not connected when it was left, has said what there is.
func (b *steerBook) awaitSettled() {
	b.t.Helper()
	eventually(b.t, "the supervisor to settle", func() bool { return !slices.Contains(b.Addresses(), nobodys) })
}

// owns says whether the pod has a socket of its own.
func owns(t *testing.T, p *pod) bool {
	t.Helper()
	_, _, err := ask(p, "/")
	if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		t.Error(err)
	}
	return err == nil
}

func TestSteering(t *testing.T) {
	book := newSteerBook(t)
	n := newNode(t, "--steer-socket", book.socket)
	image, _ := n.reg.push("x/server", wasmtest.Serve("hello", "", 0))
	n.pull(image)
	launch := func(namespace string) (*pod, string) {
		p := n.run(n.podConfig(namespace))
		return p, n.launch(p, containerConfig("web", image))
	}
	before, _ := launch("default")
	book.leave()
	book.serve(nil)
	book.awaitSettled()
	one, oneID := launch("default")
	two, _ := launch("default")
	other, _ := launch("other")
	if !owns(t, before) || book.of(before) != 0 {
		t.Error("what was there before has no socket any more")
	}
	for _, p := range []*pod{one, two, other} {
		if owns(t, p) || book.of(p) == 0 {
			t.Errorf("%s: socket %d; own %v", p.ip, book.of(p), owns(t, p))
		}
	}
	if book.of(one) != book.of(two) || book.of(one) == book.of(other) {
		t.Errorf("one socket a namespace: %v", book.at)
	}

	t.Run("a container that ends and one that comes", func(t *testing.T) {
		if _, err := n.rt.StopContainer(n.ctx(), &runtimev1.StopContainerRequest{ContainerId: oneID, Timeout: 5}); err != nil {
			t.Fatal(err)
		}
		if book.of(one) != 0 {
			t.Error("it is steered to after its end")
		}
		config := containerConfig("web", image)
		config.Metadata.Attempt = 1
		n.launch(one, config)
		if book.of(one) != book.of(two) {
			t.Error("its next attempt is not")
		}
	})
	t.Run("the supervisor is killed", func(t *testing.T) {
		was := book.of(one)
		n.kill()
		book.leave()
		if err := book.Remove(podAddress(two)); err != nil {
			t.Fatal(err)
		}
		n.start()
		book.awaitSettled()
		if book.of(one) != was || book.of(two) != was || book.of(other) == 0 {
			t.Errorf("what lives is not steered to: %v", book.at)
		}
		if _, err := n.rt.StopPodSandbox(n.ctx(), &runtimev1.StopPodSandboxRequest{PodSandboxId: two.id}); err != nil {
			t.Fatal(err)
		}
		if book.of(two) != 0 {
			t.Error("it is steered to after its end")
		}
	})
	t.Run("a runner is killed", func(t *testing.T) {
		if err := unix.Kill(n.runners()["other"].PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its addresses to go", func() bool { return book.of(other) == 0 })
	})
	t.Run("who steers is away", func(t *testing.T) {
		book.stop()
		if away, _ := launch("default"); !owns(t, away) {
			t.Error("a new one listens nowhere")
		}
	})
	t.Run("nobody steers any more", func(t *testing.T) {
		book.serve(errors.New("this node has no programs any more"))
		eventually(t, "pods to listen for themselves", func() bool { return owns(t, one) })
		late, _ := launch("default")
		if !owns(t, late) {
			t.Error("a new one does not")
		}
		if _, err := n.rt.StopPodSandbox(n.ctx(), &runtimev1.StopPodSandboxRequest{PodSandboxId: one.id}); err != nil {
			t.Fatal(err)
		}
		if owns(t, one) {
			t.Error("it listens after its end")
		}
	})
}
