package main

import (
	"context"
	"net"
	"strconv"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

const (
	loadRounds      = 5
	loadTime        = 2 * time.Second
	loadConnections = 8
	// loadWarmUp is asked of each side before the rounds, so that pools, connections and compilers have their size.
	loadWarmUp = time.Second
)

func proxyRows() []row {
	return []row{
		{
			name: "proxy/gateway-rps", direction: table.AtLeast, bar: 0.4, measure: gatewayRate,
			what: "Requests per second of a plain net/http server through the gateway, divided by those of the same server asked directly, by wrk. A\n" +
				"proxied request is parsed and written twice, and load, gateway and server share the machine: half is what there is to have.",
		},
		{
			name: "proxy/app-url-rps", direction: table.AtLeast, bar: 0.6, measure: appRate,
			what: "Requests per second through the app URL to a Go guest, each request in an instance of its own, divided by those of a plain\n" +
				"net/http server with the same handler behind the same gateway, by wrk. What stands before both costs both the same; what the guest may cost more is\n" +
				"its reset, the copies between two memories and a runner that leaves one processor to others.",
		},
		{
			name: "proxy/pod-rps", direction: table.AtLeast, bar: 0.75, measure: podRateOf(plainGuest),
			what: "Requests per second of a Go guest asked at its pod's own address, each request in an instance of its own, divided by those of a\n" +
				"plain net/http server with the same handler, by wrk. What the guest does of Go's net/http runs as WebAssembly; a bare reactor has been shown to\n" +
				"serve five sixths of it.",
		},
		{
			name: "proxy/pod-rps-bare", direction: table.AtLeast, bar: 0.75, measure: podRateOf(goPlainGuest),
			what: "The same with a guest in Go that answers by the host's functions and without net/http, divided by the same plain net/http server.",
		},
		{
			name: "proxy/pod-rps-c", direction: table.AtLeast, bar: 0.75, measure: podRateOf(cPlainGuest),
			what: "The same with a guest in C that gives the same answer, divided by the same plain net/http server: nearly all of it is the runtime.",
		},
	}
}

func gatewayRate(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		plain, err := l.servePlain(ctx, c)
		if err != nil {
			return err
		}
		defer plain.stop()
		m, err = l.comparedRates(ctx, through(c, "plain", "through the gateway"), side{"plain net/http, directly", target{address: plain.address}}, loadTime)
		return err
	})
	return m, err
}

func appRate(ctx context.Context, l *lab) (m measurement, err error) {
	err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		if err := l.runGuest(ctx, c, "hello", plainGuest, 1); err != nil {
			return err
		}
		plain, err := l.servePlain(ctx, c)
		if err != nil {
			return err
		}
		defer plain.stop()
		m, err = l.comparedRates(ctx, through(c, "hello", "the Go guest through its app URL"), through(c, "plain", "plain net/http through the gateway"), loadTime)
		return err
	})
	return m, err
}

// podRateOf compares a guest at its pod's address with a plain server.
func podRateOf(name string) func(context.Context, *lab) (measurement, error) {
	return func(ctx context.Context, l *lab) (m measurement, err error) {
		err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
			guest, err := l.servedGuest(ctx, c, name)
			if err != nil {
				return err
			}
			plain, err := l.startBaseline(ctx)
			if err != nil {
				return err
			}
			defer plain.stop()
			m, err = l.comparedRates(ctx, guest, side{"plain net/http", target{address: plain.address}}, loadTime)
			return err
		})
		return m, err
	}
}

// side is one of two things that are compared.
type side struct {
	name string
	target
}

// servePlain runs a plain server as an app of the cluster.
func (l *lab) servePlain(ctx context.Context, c *cluster.Cluster) (*server, error) {
	plain, err := l.startBaseline(ctx, "-listen", net.JoinHostPort(c.Addresses.Host(1), strconv.Itoa(guestPort)))
	if err != nil {
		return nil, err
	}
	if err = create(ctx, c, service("plain", nil), slice("plain", c.Addresses.Host(1))); err == nil {
		err = answers(ctx, c, "plain")
	}
	if err != nil {
		plain.stop()
		return nil, err
	}
	return plain, nil
}

// servedGuest runs a pod of a guest and answers it at its own address.
func (l *lab) servedGuest(ctx context.Context, c *cluster.Cluster, name string) (side, error) {
	if err := l.runGuest(ctx, c, "hello", name, 1); err != nil {
		return side{}, err
	}
	addresses, err := podAddresses(ctx, c, "hello")
	if err != nil {
		return side{}, err
	}
	return side{"the guest at its pod's address", target{address: addresses[0]}}, nil
}

// through is an app as its URL shows it.
func through(c *cluster.Cluster, app, name string) side {
	return side{name, target{address: c.State.Gateway, host: appHost(c, app)}}
}

// comparedRates loads two targets in turns.
func (l *lab) comparedRates(ctx context.Context, a, b side, duration time.Duration) (measurement, error) {
	found := map[string][]load{}
	rate := func(s side) stats.Measure {
		return func() (float64, error) {
			r, err := l.wrk(ctx, s.target, loadConnections, duration)
			found[s.name] = append(found[s.name], r)
			return r.perSecond, err
		}
	}
	for _, s := range []side{a, b} {
		if _, err := l.wrk(ctx, s.target, loadConnections, loadWarmUp); err != nil {
			return measurement{}, err
		}
	}
	p, err := stats.Pair(loadRounds, rate(a), rate(b))
	m, err := paired(p, err, a.name, b.name, "requests/s")
	if err == nil {
		for _, s := range []side{a, b} {
			p50, p99 := latencies(found[s.name])
			m.note("%s: p50 %.2f ms, p99 %.2f ms at %d connections", s.name, 1000*p50, 1000*p99, loadConnections)
		}
	}
	return m, err
}

// latencies are the medians of the rounds' quantiles.
func latencies(rounds []load) (p50, p99 float64) {
	var halves, ends []float64
	for _, r := range rounds {
		halves, ends = append(halves, r.p50), append(ends, r.p99)
	}
	return stats.Median(halves), stats.Median(ends)
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
