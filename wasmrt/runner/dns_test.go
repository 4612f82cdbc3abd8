package runner

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// TestGuestsAskThePodsDNS has the policy of a container ask the server that the container's description names.
func TestGuestsAskThePodsDNS(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			select {
			case asked <- string(buf[13 : 13+buf[12]]):
			default:
			}
			buf[2], buf[3], buf[11] = 0x84, 3, 0    // an answer: no such name
			_, _ = server.WriteTo(buf[:n-11], from) // without what EDNS adds
		}
	}()
	defer func() {
		_ = server.Close()
		<-done
	}()
	policy, err := egress.Parse([]string{"dns"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := withDNS(policy, nil); err != nil || got != policy {
		t.Errorf("without a DNS: %v", err)
	}
	policy, err = withDNS(policy, &control.DNS{Servers: []string{server.LocalAddr().String()}, Searches: []string{"ns.svc.cluster.local"},
		Options: []string{"ndots:5", "attempts:1"}, Domain: "cluster.local", Networks: []string{"127.42.0.0/16"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if found, err := policy.LookupHost(ctx, "db"); err == nil {
		t.Errorf("found %v", found)
	}
	if first := <-asked; first != "db" {
		t.Errorf("asked for %q", first)
	}
	if found, err := policy.LookupHost(ctx, "localhost"); err != nil || !slices.Contains(found, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("localhost is %v, %v", found, err)
	}
}

func TestBadDNSIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, d := range []*control.DNS{
		{Servers: []string{"dns.example"}}, {Servers: []string{"127.0.0.1"}, Searches: []string{"a b"}},
		{Servers: []string{"127.0.0.1"}, Domain: "cluster.local", Networks: []string{"x"}},
	} {
		p := w.params(wasmtest.Print("x", "", 0))
		p.Egress, p.DNS = []string{"dns"}, d
		_, err := w.do(control.MethodCreate, p)
		wantCode(t, err, control.CodeInvalid)
	}
}
