package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/bench/load"
	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

const (
	loadRounds      = 7
	loadTime        = 2 * time.Second
	loadConnections = 8
)

func proxyRows() []row {
	return []row{
		{
			name: "proxy/gateway-rps", direction: table.AtLeast, bar: 0.4, measure: gatewayRate,
			what: "Requests per second of a plain net/http server through the gateway, divided by those of the same server asked directly. A\n" +
				"proxied request is parsed and written twice, and load, gateway and server share the machine: half is what there is to have.",
		},
		{
			name: "proxy/app-url-rps", direction: table.AtLeast, bar: 0.3, measure: appRate,
			what: "Requests per second through the app URL to a Go guest, each in an instance of its own, divided by those of a plain net/http\n" +
				"server asked directly. The gateway takes half; an instance reset from a snapshot has been shown to serve five sixths of what\n" +
				"net/http does. A freshly instantiated one serves about a five-hundredth: the row is short until snapshots are here.",
		},
	}
}

func gatewayRate(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		plain, err := l.startBaseline(ctx, "-listen", net.JoinHostPort(c.Addresses.Host(1), strconv.Itoa(guestPort)))
		if err != nil {
			return err
		}
		defer plain.stop()
		if err := create(ctx, c, service("plain", nil), slice("plain", c.Addresses.Host(1))); err != nil {
			return err
		}
		if err := answers(ctx, c, "plain"); err != nil {
			return err
		}
		through := load.Target{Address: c.State.Gateway, Host: appHost(c, "plain")}
		m, err = comparedRates(ctx, "through the gateway", through, load.Target{Address: plain.address}, loadRounds, loadTime)
		return err
	})
	return m, err
}

func appRate(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		if err := l.runGuest(ctx, c, "hello", 1); err != nil {
			return err
		}
		plain, err := l.startBaseline(ctx)
		if err != nil {
			return err
		}
		defer plain.stop()
		through := load.Target{Address: c.State.Gateway, Host: appHost(c, "hello")}
		m, err = comparedRates(ctx, "the Go guest through its app URL", through, load.Target{Address: plain.address}, loadRounds, loadTime)
		return err
	})
	return m, err
}

// comparedRates loads two targets in turns.
func comparedRates(ctx context.Context, what string, a, b load.Target, rounds int, duration time.Duration) (measurement, error) {
	var latencies []float64
	rate := func(t load.Target, keep bool) stats.Measure {
		return func() (float64, error) {
			r := load.Run(ctx, t, loadConnections, duration)
			if r.Failures > 0 {
				return 0, fmt.Errorf("%d of %d requests failed, first: %w", r.Failures, r.Failures+r.Requests, r.FirstFail)
			}
			if keep {
				latencies = append(latencies, r.Latencies...)
			}
			return r.PerSecond(), nil
		}
	}
	p, err := stats.Pair(rounds, rate(a, true), rate(b, false))
	m, err := paired(p, err, what, "plain net/http, directly", "requests/s")
	if err == nil {
		m.note("%s: p50 %.2f ms, p99 %.2f ms at %d connections", what, 1000*stats.Median(latencies), 1000*stats.Quantile(latencies, 0.99), loadConnections)
	}
	return m, err
}

// slice describes the one endpoint of a Service without a selector.
func slice(name, address string) *discoveryv1.EndpointSlice {
	port, portName, isReady := int32(guestPort), "http", true
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name + "-bench", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &isReady}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
}
