package egress

import (
	"context"
	"net"
	"testing"
)

// fakeDNS is a resolver that asks a server in this process, which answers every name with what answer says.
func fakeDNS(t *testing.T, answer func() [4]byte) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := reply(buf[:n], answer); reply != nil {
				_, _ = server.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// reply answers a query for an address of version 4, and says that there is none of another kind.
func reply(query []byte, answer func() [4]byte) []byte {
	const header = 12
	end := header
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	if end += 5; end > len(query) {
		return nil
	}
	out := append([]byte(nil), query[:end]...)
	out[2] |= 0x80 // a response
	for i := 6; i < header; i++ {
		out[i] = 0 // no records
	}
	if query[end-3] != 1 {
		return out
	}
	a := answer()
	out[7] = 1
	// The name is that of the question; type A, class IN, no time to live, four bytes.
	return append(append(out, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), a[:]...)
}
