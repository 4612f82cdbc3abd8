package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
)

// fakePath notes what it is told.
type fakePath struct {
	missing error
	mu      sync.Mutex
	lines   []string
}

func (f *fakePath) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, fmt.Sprintf(format, args...))
}

func (f *fakePath) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lines)
}

func (f *fakePath) Open(context.Context) error    { return f.missing }
func (f *fakePath) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *fakePath) Apply(s Service)               { f.note("apply %s", s.Name) }
func (f *fakePath) Drop(key types.NamespacedName) { f.note("drop %s", key.Name) }
func (f *fakePath) Settled()                      { f.note("settled") }
func (f *fakePath) Leave(addr netip.Addr)         { f.note("leave %s", addr) }
func (f *fakePath) Arrive(addr netip.Addr)        { f.note("arrive %s", addr) }
func pathConfig(path DataPath, mode Mode) Config {
	return Config{
		Client: fake.NewClientset(testService("a")), NodeName: "node-1", Kernel: path, Mode: mode,
		NodeAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Logger: discard,
	}
}

// run serves until the test ends.
func run(t *testing.T, cfg Config) *Server {
	t.Helper()
	server, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server
}

func TestTheKernelServes(t *testing.T) {
	for _, mode := range []Mode{Auto, EBPF} {
		path := &fakePath{}
		cfg := pathConfig(path, mode)
		cfg.StateFile = filepath.Join(t.TempDir(), "services.json")
		server := run(t, cfg)
		eventually(t, "the table", func() bool { return slices.Equal(path.told(), []string{"apply a", "settled"}) })
		server.Leave(netip.MustParseAddr("127.42.0.1"))
		server.Arrive(netip.MustParseAddr("127.42.0.1"))
		eventually(t, "the pod", func() bool {
			return slices.Equal(path.told(), []string{"apply a", "settled", "leave 127.42.0.1", "arrive 127.42.0.1"})
		})
		if got := server.Serving(); got != (Serving{Mode: EBPF}) {
			t.Errorf("%s: serving %+v", mode, got)
		}
	}
}

func TestUserSpaceServesWhereTheKernelCannot(t *testing.T) {
	at, backend := vip(t), tcpBackend(t, "a")
	recorder := record.NewFakeRecorder(10)
	cfg := pathConfig(&fakePath{missing: errors.New("no CAP_BPF")}, Auto)
	cfg.Recorder = recorder
	cfg.Client = fake.NewClientset(testService("a", func(s *corev1.Service) {
		s.Spec.ClusterIPs, s.Spec.Ports[0].Port = []string{at.Addr().String()}, int32(at.Port())
	}), testSlice("a", "1", int32(backend.Addr.Port()), endpointOf(backend.Addr.Addr().String(), 'r')))
	server := run(t, cfg)
	eventually(t, "the frontend", func() bool { answer, _ := talk(at, "x"); return answer == "a x" })
	if got := server.Serving(); got.Mode != Userspace || !strings.Contains(got.Missing, "CAP_BPF") {
		t.Errorf("serving %+v", got)
	}
	want := `# HELP petrel_proxy_fallback 1 when user space serves because the kernel's data path is not to be had.
# TYPE petrel_proxy_fallback gauge
petrel_proxy_fallback 1
# HELP petrel_proxy_mode Which data path serves: 1 for that, 0 for the other.
# TYPE petrel_proxy_mode gauge
petrel_proxy_mode{mode="ebpf"} 0
petrel_proxy_mode{mode="userspace"} 1
`
	if err := testutil.CollectAndCompare(server, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if event := <-recorder.Events; !strings.Contains(event, "ServiceProxyInUserSpace") || !strings.Contains(event, "CAP_BPF") {
		t.Errorf("event = %q", event)
	}
}

func TestTheKernelOrNothing(t *testing.T) {
	missing := errors.New("no CAP_BPF")
	server, err := New(pathConfig(&fakePath{missing: missing}, EBPF))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context()); !errors.Is(err, missing) {
		t.Errorf("run: %v", err)
	}
}

func TestUserSpaceWhenAskedFor(t *testing.T) {
	path := &fakePath{}
	server := run(t, pathConfig(path, Userspace))
	eventually(t, "a choice", func() bool { return server.Serving() == Serving{Mode: Userspace} })
	if told := path.told(); len(told) != 0 {
		t.Errorf("the kernel was told %q", told)
	}
}

func TestParseMode(t *testing.T) {
	for text, ok := range map[string]bool{"auto": true, "ebpf": true, "userspace": true, "": false, "iptables": false} {
		if _, err := ParseMode(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
