package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/feed/feedtest"
)

// patience bounds each wait.
const patience = 60 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// acceptor takes connections until the test ends.
func acceptor(t testing.TB) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// objects are a Service and its one endpoint.
func objects(vip netip.AddrPort, to netip.AddrPort) (*corev1.Service, *discoveryv1.EndpointSlice) {
	meta := metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: "a", Labels: map[string]string{discoveryv1.LabelServiceName: "a"}}
	return &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			ClusterIPs: []string{vip.Addr().String()}, Ports: []corev1.ServicePort{{Port: int32(vip.Port())}},
		}}, &discoveryv1.EndpointSlice{
			ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: ptr.To(int32(to.Port()))}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{to.Addr().String()}}},
		}
}

func connect(at netip.AddrPort) error {
	conn, err := net.DialTimeout("tcp", at.String(), patience)
	if err != nil {
		return err
	}
	return conn.Close()
}

// load connects again and again and counts what failed.
type load struct {
	tried, failed atomic.Int64
	stop          func()
}

// connecting has clients connect at every pause.
func connecting(at netip.AddrPort, pause time.Duration) *load {
	l := &load{}
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(pause):
				}
				l.tried.Add(1)
				if connect(at) != nil {
					l.failed.Add(1)
				}
			}
		})
	}
	l.stop = func() { close(done); clients.Wait() }
	return l
}

// TestRestartsUnderLoad goes through generations of the worker, the later ones without the API, while clients connect.
func TestRestartsUnderLoad(t *testing.T) {
	insideOrSkip(t)
	pins, state := bpffs(t), filepath.Join(t.TempDir(), "services.json")
	vip := netip.MustParseAddrPort("10.96.0.1:80")
	svc, slice := objects(vip, acceptor(t))
	client := feedtest.CopyWatches(fake.NewClientset(svc, slice))
	var away atomic.Bool
	client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return away.Load(), nil, errors.New("connection refused")
	})
	_, end := generation(t, client, pins, state)
	eventually(t, "the service", func() bool { return connect(vip) == nil })
	eventually(t, "the state on disk", func() bool { _, err := os.Stat(state); return err == nil })
	away.Store(true)
	clients := connecting(vip, time.Millisecond)
	for n := range 6 {
		end()
		time.Sleep(20 * time.Millisecond) // nobody is there but the kernel
		var path *Path
		path, end = generation(t, client, pins, state)
		if n%2 == 0 {
			time.Sleep(time.Duration(n) * 10 * time.Millisecond) // it ends in the midst of its start
			continue
		}
		eventually(t, "the table of last time", func() bool { updated, _ := path.Progress(); return !updated.IsZero() })
	}
	eventually(t, "enough connections", func() bool { return clients.tried.Load() >= 100 })
	clients.stop()
	if clients.failed.Load() > 0 {
		t.Errorf("%d of %d connections failed", clients.failed.Load(), clients.tried.Load())
	}
	end()
	_, proxy := newKernel(t, pins)
	if err := proxy.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := connect(vip); err == nil {
		t.Error("the service is served after it was removed")
	}
	if _, err := os.Stat(pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins are left behind: %v", err)
	}
}

// BenchmarkRestart restarts the worker, which replaces its programs as an upgrade does, while clients connect without a
// pause, 10,000 times at the least.
func BenchmarkRestart(b *testing.B) {
	insideOrSkip(b)
	const least = 10_000
	pins, state := bpffs(b), filepath.Join(b.TempDir(), "services.json")
	vip := netip.MustParseAddrPort("10.96.0.3:80")
	svc, slice := objects(vip, acceptor(b))
	client := feedtest.CopyWatches(fake.NewClientset(svc, slice))
	_, end := generation(b, client, pins, state)
	eventually(b, "the service", func() bool { return connect(vip) == nil })
	clients := connecting(vip, 0)
	for b.Loop() {
		end()
		var path *Path
		path, end = generation(b, client, pins, state)
		eventually(b, "the table", func() bool { updated, _ := path.Progress(); return !updated.IsZero() })
	}
	for clients.tried.Load() < least {
		time.Sleep(time.Millisecond)
	}
	clients.stop()
	end()
	_, proxy := newKernel(b, pins)
	if err := proxy.Remove(); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(clients.tried.Load()), "connections")
	b.ReportMetric(float64(clients.failed.Load()), "failed")
}

// generation is one run of the worker's services.
func generation(t testing.TB, client kubernetes.Interface, pins, state string) (path *Path, end func()) {
	t.Helper()
	path, _ = newKernel(t, pins, netip.MustParseAddr("127.0.0.1"))
	server, err := service.New(service.Config{
		Client: client, NodeName: "node", NodeAddrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, StateFile: state,
		Kernel: path, Mode: service.EBPF, Logger: discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	return path, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(fmt.Errorf("run: %w", err))
		}
	}
}
