package main

import (
	"context"
	"fmt"

	"github.com/petrelrun/petrel/bench/table"
)

const (
	proxyPackage  = "./ebpfproxy"
	kernelPackage = "./worker/service/kernel"
	// connects is how often each side connects.
	connects = 20_000
)

// kernelRows are those of services in the kernel. All need root.
func kernelRows() []row {
	const turns = " Both sides take turns in one process, in network namespaces of their own, and the value is the ratio of medians."
	rows := []row{
		{
			name: "proxy/connect-10", direction: table.AtMost, bar: 1.08,
			measure: goBenchmark{pkg: proxyPackage, name: "BenchmarkConnect/10", times: connects, metric: "ratio"}.measure,
			what: "connect() to a service with 10 in the table, divided by connect() to its backend by a socket that no program sees." + turns + "\n" +
				"A look-up and two words rewritten are some 700 ns of the loopback's 13 µs.",
		},
		{
			name: "proxy/connect-100000", direction: table.AtMost, bar: 1.10,
			measure: goBenchmark{pkg: proxyPackage, name: "BenchmarkConnect/100000", times: connects, metric: "ratio"}.measure,
			what:    "The same with 100,000 services, divided by the same: a hash table's look-up costs as much, but for the caches.",
		},
		{
			name: "proxy/http-new-connection", direction: table.AtLeast, bar: 0.95,
			measure: goBenchmark{pkg: proxyPackage, name: "BenchmarkPeerHTTP/direct", times: connects / 4, metric: "ratio"}.measure,
			what:    "The rate of HTTP requests on connections of their own through a service among 5,000, divided by that straight to the backend." + turns,
		},
		{
			name: "proxy/nodeport-connect", direction: table.AtMost, bar: 1.15,
			measure: goBenchmark{pkg: proxyPackage, name: "BenchmarkNATConnect", times: connects / 40, metric: "ratio"}.measure,
			what: "connect() from outside to a node port whose backend is on another node, divided by connect() to the backend through the same node's plain\n" +
				"routing: client, node and backend in three network namespaces." + turns,
		},
		{
			name: "proxy/endpoint-change", direction: table.AtMost, bar: 0.2,
			measure: goBenchmark{pkg: kernelPackage, name: "BenchmarkEndpointChange", times: 100, metric: "nft/ebpf", inverse: true, here: bar{"ebpf-us", 1000}}.measure,
			what: "Seconds from one service's changed EndpointSlice to the kernel's tables, with 10,000 services in them, divided by those that nft takes for\n" +
				"the same change of a verdict map, which it has been shown to need 42 ms for.",
		},
		{
			name: "proxy/load-10000", direction: table.AtMost, bar: 0.05,
			measure: goBenchmark{pkg: kernelPackage, name: "BenchmarkLoad", times: 5, metric: "nft/ebpf", inverse: true, here: bar{"ebpf-us", 100_000}}.measure,
			what:    "Seconds to put 10,000 services with two endpoints each into an empty kernel, divided by those that nft takes for the same as a verdict map.",
		},
	}
	const none = " One is none lost: anything above is short."
	rows = append(rows, row{
		name: "proxy/restart", direction: table.AtMost, bar: 1,
		measure: lossless(goBenchmark{pkg: kernelPackage, name: "BenchmarkRestart", times: 20}, "connections"),
		what: "Connections to a service while its worker is restarted again and again and replaces its programs as an upgrade does, 10,000 at the least,\n" +
			"divided by those that succeeded." + none,
	}, row{
		name: "proxy/rolling-update", direction: table.AtMost, bar: 1,
		measure: lossless(goBenchmark{pkg: "./test/e2e/proxy", name: "BenchmarkRollingUpdate", times: 2}, "requests"),
		what:    "Requests to a service, 500 a second on connections of their own, during rolling updates of its Deployment, divided by those that\nsucceeded." + none,
	}, row{
		name: "proxy/load-100000", direction: table.AtMost, bar: 15, measure: loadGrowth,
		what: "Seconds to put 100,000 services into an empty kernel, divided by those for 10,000: ten times the work, in tables that no cache holds.",
	})
	for _, peer := range []struct{ row, benchmark, what string }{
		{"nft-map", "BenchmarkPeerConnect/nft_verdict_map", "an nftables verdict map"},
		{"nft-linear", "BenchmarkPeerConnect/nft_linear", "nftables rules, one a service"},
		{"iptables", "BenchmarkPeerConnect/iptables", "iptables rules, one a service"},
	} {
		rows = append(rows, row{
			name: "proxy/connect-vs-" + peer.row, direction: table.AtMost, bar: 1,
			measure: goBenchmark{pkg: proxyPackage, name: peer.benchmark, times: connects / 4, metric: "ratio"}.measure,
			what:    "connect() to the service in the middle of 5,000, divided by the same through " + peer.what + "." + turns,
		})
	}
	for _, peer := range []string{"haproxy", "nginx"} {
		rows = append(rows, row{
			name: "proxy/http-vs-" + peer, direction: table.AtLeast, bar: 1,
			measure: goBenchmark{pkg: proxyPackage, name: "BenchmarkPeerHTTP/" + peer, times: connects / 10, metric: "ratio"}.measure,
			what:    "The rate of HTTP requests on connections of their own through a service among 5,000, divided by that through " + peer + " before one backend." + turns,
		})
	}
	return rows
}

// loadGrowth compares loading ten times as many services.
func loadGrowth(ctx context.Context, l *lab) (m measurement, err error) {
	seconds := map[string]float64{}
	for _, n := range []string{"10000", "100000"} {
		metrics, err := goBenchmark{pkg: proxyPackage, name: "BenchmarkLoad/" + n, times: 5}.run(ctx, l)
		if err != nil {
			return m, err
		}
		seconds[n] = metrics["ns/op"] / 1e9
	}
	m.value = seconds["100000"] / seconds["10000"]
	m.barred("100,000 services", seconds["100000"], 1, "s")
	m.barred("10,000 services", seconds["10000"], 0.1, "s")
	return m, nil
}

// lossless compares how often something was tried with how often it succeeded.
func lossless(g goBenchmark, tried string) func(context.Context, *lab) (measurement, error) {
	return func(ctx context.Context, l *lab) (m measurement, err error) {
		metrics, err := g.run(ctx, l)
		if err != nil {
			return m, err
		}
		all, failed := metrics[tried], metrics["failed"]
		if all <= failed {
			return m, fmt.Errorf("run %s: %.0f %s, %.0f failed", g.name, all, tried, failed)
		}
		m.value = all / (all - failed)
		m.note("%.0f %s, %.0f failed", all, tried, failed)
		return m, nil
	}
}
