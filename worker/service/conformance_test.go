package service_test

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/worker/service"
	"github.com/petrelrun/petrel/worker/service/servicetest"
)

// grace is what connections have whose endpoint has gone.
const grace = time.Second

// TestUserSpaceConforms runs in the machine's own network: all addresses are loopback's.
func TestUserSpaceConforms(t *testing.T) {
	node := netip.MustParseAddr("127.0.0.1")
	servicetest.Run(t, servicetest.Host{
		VIPs: netip.MustParsePrefix("127.49.0.0/16"), Node: node, NodePorts: 29000, Grace: grace,
		Serve: func(t *testing.T, client kubernetes.Interface) *service.Server {
			server, err := service.New(service.Config{
				Client: client, NodeName: servicetest.NodeName, NodeAddrs: []netip.Addr{node}, Mode: service.Userspace, Grace: grace,
				Logger: slog.New(slog.DiscardHandler),
			})
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
		},
	})
}
