package service

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// BenchmarkGateway compares an HTTP server asked directly with the same through the gateway, each over kept-alive
// connections: what the gateway adds is the difference.
func BenchmarkGateway(b *testing.B) {
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write([]byte("hello, world\n"))
	})}
	go func() { _ = server.Serve(app) }()
	defer server.Close()
	routes := newRoutes(newLeavers())
	routes.apply(appService("app", "default", Backend{Addr: app.Addr().(*net.TCPAddr).AddrPort()}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go func() { _ = newGateway(routes, discard).serve(ctx, listener) }()
	for name, addr := range map[string]string{"direct": app.Addr().String(), "gateway": listener.Addr().String()} {
		b.Run(name, func(b *testing.B) { load(b, addr) })
	}
}

const benchClients = 16

func load(b *testing.B, addr string) {
	b.SetParallelism(benchClients)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		request := []byte("GET / HTTP/1.1\r\nHost: app.localhost:8081\r\nUser-Agent: bench\r\n\r\n")
		answer := make([]byte, 4096)
		for pb.Next() { // the answer is small enough to come in one piece
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if _, err := conn.Read(answer); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
