package egress

import (
	"net"
	"net/netip"
	"testing"
)

// Connections come from the pod's address, however they are made.
func TestSource(t *testing.T) {
	source := netip.MustParseAddr("127.9.8.7")
	p := parse(t, "*").WithSource(source)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, dial := range []func() (net.Conn, error){
		func() (net.Conn, error) { return p.DialContext(t.Context(), "tcp", l.Addr().String()) },
		func() (net.Conn, error) { return p.DialHTTP(t.Context(), "http", "tcp", l.Addr().String()) },
	} {
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		other, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if got := other.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != source {
			t.Errorf("it comes from %s, want %s", got, source)
		}
	}
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	c, err := p.DialContext(t.Context(), "udp", u.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, from, err := u.ReadFrom(make([]byte, 1)); err != nil || from.(*net.UDPAddr).AddrPort().Addr() != source {
		t.Errorf("it comes from %v, %v", from, err)
	}
}

// The kernel chooses where the pod's address cannot lead there.
func TestSourceThatCannotBe(t *testing.T) {
	tests := []struct {
		source, to string
		bound      bool
	}{
		{"127.42.0.1", "127.43.0.1", true},
		{"127.42.0.1", "192.0.2.1", false},
		{"10.42.0.1", "192.0.2.1", true},
		{"10.42.0.1", "127.0.0.1", true},
		{"10.42.0.1", "2001:db8::1", false},
		{"2001:db8::2", "2001:db8::1", true},
		{"::ffff:10.42.0.1", "192.0.2.1", true},
	}
	for _, tt := range tests {
		d := parse(t, "*").WithSource(netip.MustParseAddr(tt.source)).dialer("tcp", netip.MustParseAddr(tt.to))
		if (d.LocalAddr != nil) != tt.bound {
			t.Errorf("from %s to %s: bound to %v", tt.source, tt.to, d.LocalAddr)
		}
	}
	both := parse(t, "*").WithSource(netip.MustParseAddr("10.42.0.1"), netip.MustParseAddr("fd42::1"))
	for to, from := range map[string]string{"192.0.2.1": "10.42.0.1:0", "2001:db8::1": "[fd42::1]:0"} {
		if d := both.dialer("tcp", netip.MustParseAddr(to)); d.LocalAddr == nil || d.LocalAddr.String() != from {
			t.Errorf("to %s with an address of each family: bound to %v, want %s", to, d.LocalAddr, from)
		}
	}
	if d := parse(t, "*").dialer("tcp", netip.MustParseAddr("192.0.2.1")); d.LocalAddr != nil {
		t.Errorf("without a source: bound to %v", d.LocalAddr)
	}
}
