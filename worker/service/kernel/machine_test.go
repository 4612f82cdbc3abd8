package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
)

// TestMachine serves with everything that a machine has: pins, and programs for packets from outside.
func TestMachine(t *testing.T) {
	cgroup := insideOrSkip(t)
	others := ""
	m := Machine{Cgroup: cgroup, PinDir: bpffs(t), Interfaces: ExternalInterfaces, Logger: discard,
		Opened: func(_ context.Context, proxy *ebpfproxy.Proxy) (func() error, error) {
			others += fmt.Sprint("opened ", len(proxy.Stats()))
			return func() error { others += ", closed"; return nil }, nil
		}}
	path, err := New(Config{Proxy: m.Programs(), Logger: discard, Addresses: func() ([]netip.Addr, error) { return NodeAddresses(nil) }})
	if err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParseAddrPort("10.96.0.2:80")
	svc, slice := objects(vip, acceptor(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server, err := service.New(service.Config{
		Client: feedtest.CopyWatches(fake.NewClientset(svc, slice)), NodeName: "node", NodeAddrs: []netip.Addr{vip.Addr()}, Kernel: path, Mode: service.EBPF, Logger: discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- server.Run(ctx) }()
	eventually(t, "the service", func() bool { return connect(vip) == nil })
	connections := func() float64 { return tally{path.counters}.connections(t)["ns/a:"] }
	before := connections()
	if err := connect(vip); err != nil || connections() != before+1 {
		t.Errorf("counted %v connections, then %v after one more (%v)", before, connections(), err)
	}
	if names := families(t, path); !slices.Contains(names, "petrel_proxy_outside_total") || !slices.Contains(names, "petrel_proxy_outside_entries") {
		t.Errorf("metrics are %v", names)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if names := families(t, path); slices.Contains(names, "petrel_proxy_outside_total") {
		t.Errorf("metrics after the end are %v", names)
	}
	if others != "opened 0, closed" {
		t.Errorf("what else works on the tables was %q", others)
	}
	if err := connect(vip); err != nil {
		t.Errorf("what is pinned does not serve on: %v", err)
	}
	for range 2 { // the second time there is nothing
		if err := m.Remove(); err != nil {
			t.Error(err)
		}
	}
	if err := connect(vip); err == nil {
		t.Error("the service is served after it was removed")
	}
	if _, err := os.Stat(m.PinDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins are left behind: %v", err)
	}
}

// families are the names of the metrics that are told now.
func families(t *testing.T, path *Path) (names []string) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(path)
	all, err := registry.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range all {
		names = append(names, f.GetName())
	}
	return names
}

func TestEveryOutsideCounterIsTold(t *testing.T) {
	want := 0
	for f := range reflect.TypeFor[ebpfproxy.NATStats]().Fields() {
		if f.Type.Kind() == reflect.Uint64 {
			want++
		}
	}
	if got := len(outsideCounters(&ebpfproxy.NATStats{})); got != want {
		t.Errorf("%d counters are told, want %d", got, want)
	}
}

func TestWhatElseCannotBeOpened(t *testing.T) {
	broken := errors.New("broken")
	m := Machine{Cgroup: insideOrSkip(t), Logger: discard, Opened: func(context.Context, *ebpfproxy.Proxy) (func() error, error) { return nil, broken }}
	programs := m.Programs()
	if err := programs.Open(t.Context()); !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}
	m.Opened = nil
	again := m.Programs() // nothing is left in the way
	if err := errors.Join(again.Open(t.Context()), again.Close()); err != nil {
		t.Error(err)
	}
}

func TestAMachineWithoutCgroup2SaysSo(t *testing.T) {
	err := Machine{Cgroup: t.TempDir(), Logger: discard}.Programs().Open(t.Context())
	if !errors.Is(err, ebpfproxy.ErrUnsupported) {
		t.Errorf("open: %v", err)
	}
	programs := Machine{Cgroup: filepath.Join(t.TempDir(), "none"), Logger: discard}.Programs()
	if err := programs.Open(t.Context()); err == nil {
		t.Error("opened at a cgroup that is not there")
	}
	if err := programs.Close(); err != nil {
		t.Errorf("close of what is not open: %v", err)
	}
	if err := (Machine{}).Remove(); err != nil {
		t.Errorf("remove of what pins nothing: %v", err)
	}
}
