package main

import (
	"context"

	"github.com/petrelrun/petrel/bench/table"
	"github.com/petrelrun/petrel/test/cluster"
)

func peerRows() []row {
	return []row{
		{
			name: "wasmrt/vs-workerd", direction: table.AtLeast, bar: 3,
			what: "Requests per second of a Go guest asked at its pod's address, each request in an instance of its own, divided by those of a hello\n" +
				"in JavaScript under workerd, whose requests share an isolate, by wrk. A V8 isolate enters and leaves its heap and makes objects of each\n" +
				"request; the guest's requests stay in wasmrt's server until the guest is called, and that call has been shown at 4 µs.",
			measure: func(ctx context.Context, l *lab) (measurement, error) {
				return l.againstPeer(ctx, "workerd, JavaScript", func() (*server, error) { return l.startWorkerd(ctx) })
			},
		},
		{
			name: "wasmrt/vs-wasmtime", direction: table.AtLeast, bar: 3,
			what: "Requests per second of a Go guest asked at its pod's address, each request in an instance of its own, divided by those of the same\n" +
				"module under wasmtime with a fresh instance a request, by wrk. A fresh instance begins with Go's runtime and every package's\n" +
				"initialisation; one from a snapshot has them behind it.",
			measure: func(ctx context.Context, l *lab) (m measurement, err error) {
				guest, err := l.tree.Guest(ctx, plainGuest, true)
				if err != nil {
					return m, err
				}
				return l.againstPeer(ctx, "wasmtime, a fresh instance a request", func() (*server, error) { return l.startWasmtime(ctx, guest) })
			},
		},
	}
}

// againstPeer compares the Go guest with another runtime's server.
func (l *lab) againstPeer(ctx context.Context, name string, start func() (*server, error)) (m measurement, err error) {
	peer, err := start()
	if err != nil {
		return m, err
	}
	defer peer.stop()
	err = l.withCluster(ctx, nil, func(c *cluster.Cluster) error {
		guest, err := l.servedGuest(ctx, c, plainGuest)
		if err != nil {
			return err
		}
		m, err = l.comparedRates(ctx, guest, side{name, target{address: peer.address}}, loadTime)
		return err
	})
	return m, err
}
