package kernel

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/ebpfproxy"
	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/servicetest"
)

var discard = slog.New(slog.DiscardHandler)

// grace is what connections have whose endpoint has gone.
const grace = time.Second

// newKernel is the data path in the kernel for the test's cgroup.
func newKernel(t testing.TB, pins string, nodes ...netip.Addr) (*Path, *ebpfproxy.Proxy) {
	t.Helper()
	proxy, err := ebpfproxy.New(ebpfproxy.Config{Logger: discard, CgroupPath: insideOrSkip(t), PinDir: pins, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	path, err := New(Config{Proxy: proxy, Logger: discard, Addresses: func() ([]netip.Addr, error) { return nodes, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return path, proxy
}

// TestConformance has both data paths pass the same suite, with IPv6.
func TestConformance(t *testing.T) {
	insideOrSkip(t)
	node := netip.MustParseAddr("127.0.0.1")
	for mode, kernel := range map[service.Mode]bool{service.EBPF: true, service.Userspace: false} {
		t.Run(string(mode), func(t *testing.T) {
			servicetest.Run(t, servicetest.Host{
				VIPs: netip.MustParsePrefix("127.49.0.0/16"), VIPs6: vips6(), Node: node, NodePorts: 29000, Grace: grace,
				Serve: func(t *testing.T, client kubernetes.Interface) *service.Server {
					cfg := service.Config{
						Client: client, NodeName: servicetest.NodeName, NodeAddrs: []netip.Addr{node, netip.IPv6Loopback()}, Mode: mode, Grace: grace, Logger: discard,
					}
					if kernel {
						cfg.Kernel, _ = newKernel(t, "", node, netip.IPv6Loopback())
					}
					return serve(t, cfg)
				},
			})
		})
	}
}

// serve runs a server until the test ends.
func serve(t *testing.T, cfg service.Config) *service.Server {
	t.Helper()
	server, err := service.New(cfg)
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
