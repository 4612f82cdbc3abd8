package network

import (
	"context"
	"net"
	"testing"
)

// What a guest gets is tested with guests, by package wasi. This is the native side.
func TestNative(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DialContext(ctx, "tcp", l.Addr().String()); err == nil {
		t.Errorf("with an ended context: %v", err)
	}
	if addrs, err := LookupHost(t.Context(), "localhost"); len(addrs) == 0 || err != nil {
		t.Errorf("localhost: %v, %v", addrs, err)
	}
	if got, err := Listeners(); len(got) != 0 || err != nil {
		t.Errorf("listeners %v, %v", got, err)
	}
	t.Setenv("LISTEN_FDS", "2")
	if first, count := listeners(); first != firstListener || count != 2 {
		t.Errorf("%d listeners from %d", count, first)
	}
	t.Setenv("PETREL_LISTEN_FD", "5")
	if first, _ := listeners(); first != 5 {
		t.Errorf("listeners from %d", first)
	}
	if a := tcpAddr("1.2.3.4:5"); a.String() != "1.2.3.4:5" {
		t.Errorf("address %v", a)
	}
	if a := udpAddr("nonsense"); a.Network() != "udp" {
		t.Errorf("address %v", a)
	}
}
