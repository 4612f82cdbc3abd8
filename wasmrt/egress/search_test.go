package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// zone is a DNS server of what is in it: a name's address; nil fails, and what is not in it does not exist.
type zone struct {
	names map[string][]byte
	mu    sync.Mutex
	asked []string
}

func (z *zone) serve(t *testing.T) string {
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
			if answer := z.answer(buf[:n]); answer != nil {
				_, _ = server.WriteTo(answer, from)
			}
		}
	}()
	return server.LocalAddr().String()
}

func (z *zone) answer(query []byte) []byte {
	var labels []string
	for i := 12; i < len(query) && query[i] != 0; i += int(query[i]) + 1 {
		labels = append(labels, string(query[i+1:i+1+int(query[i])]))
	}
	name := strings.ToLower(strings.Join(labels, "."))
	z.mu.Lock()
	defer z.mu.Unlock()
	if !slices.Contains(z.asked, name) {
		z.asked = append(z.asked, name)
	}
	addr, ok := z.names[name]
	if ok && addr != nil {
		return reply(query, func() [4]byte { return [4]byte(addr) })
	}
	out := reply(query, func() [4]byte { return [4]byte{} })
	if out == nil {
		return nil
	}
	end := 12 + len(name) + 6
	out = out[:min(len(out), end)]
	out[3] = 3 // no such name
	if ok {
		out[3] = 2 // a failure
	}
	out[7] = 0
	return out
}

func parseDNS(t *testing.T, servers, searches, options []string) DNS {
	t.Helper()
	d, err := ParseDNS(servers, searches, options)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var clusterSearches = []string{"ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example."}

func TestCandidates(t *testing.T) {
	d := parseDNS(t, []string{"127.0.0.1"}, clusterSearches, []string{"ndots:5"})
	one := parseDNS(t, []string{"127.0.0.1"}, []string{"corp.example", "."}, []string{"rotate", "ndots:x"})
	for _, c := range []struct {
		d    DNS
		name string
		want string
	}{
		{d, "db", "db.ns.svc.cluster.local. db.svc.cluster.local. db.cluster.local. db.corp.example. db."},
		{d, "db.other", "db.other.ns.svc.cluster.local. db.other.svc.cluster.local. db.other.cluster.local. db.other.corp.example. db.other."},
		{d, "a.b.c.d.e.f", "a.b.c.d.e.f. a.b.c.d.e.f.ns.svc.cluster.local. a.b.c.d.e.f.svc.cluster.local. a.b.c.d.e.f.cluster.local. a.b.c.d.e.f.corp.example."},
		{d, "www.example.com.", "www.example.com."},
		{one, "www.example.com", "www.example.com. www.example.com.corp.example."},
		{one, "www", "www.corp.example. www."},
	} {
		if got := strings.Join(c.d.candidates(c.name), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	long := strings.Repeat("a.", 119) + "ab"
	if got := d.candidates(long); len(got) != 2 || got[0] != long+"." { // only one domain leaves room
		t.Errorf("a long name: %q", got)
	}
}

func TestParseDNSRefuses(t *testing.T) {
	for _, c := range []struct{ servers, searches []string }{
		{[]string{"dns.example"}, nil}, {[]string{"127.0.0.1:0"}, nil}, {[]string{"1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1"}, nil},
		{nil, []string{"a b"}}, {nil, []string{strings.Repeat("a", 64)}}, {nil, make([]string, maxSearches+1)},
	} {
		if _, err := ParseDNS(c.servers, c.searches, nil); err == nil {
			t.Errorf("%q %q is accepted", c.servers, c.searches)
		}
	}
	d := parseDNS(t, []string{"fd00::1", "127.0.0.1:1053"}, nil, []string{"timeout:99", "attempts:0", "ndots:99"})
	if d.servers[0].String() != "[fd00::1]:53" || d.servers[1].Port() != 1053 || d.timeout != maxTimeout || d.attempts != 1 || d.ndots != maxNdots {
		t.Errorf("parsed %+v", d)
	}
	if _, err := (DNS{}).Trusting("a b", nil); err == nil {
		t.Error("a bad domain is trusted")
	}
	if _, err := (DNS{}).Trusting("cluster.local", []string{"127.0.0.1"}); err == nil {
		t.Error("a bad network is trusted")
	}
}

func TestLookupInDomains(t *testing.T) {
	z := &zone{names: map[string][]byte{
		"db.ns.svc.cluster.local": {10, 1, 1, 1}, "web.other.svc.cluster.local": {10, 1, 1, 2}, "www.example.com": {93, 184, 216, 34},
		"broken.ns.svc.cluster.local": nil, "broken": {10, 9, 9, 9},
	}}
	d := parseDNS(t, []string{z.serve(t)}, clusterSearches, []string{"ndots:5", "attempts:1"})
	p := parse(t, "dns").WithDNS(d)
	for name, want := range map[string]string{"db": "10.1.1.1", "DB": "10.1.1.1", "web.other": "10.1.1.2", "www.example.com": "93.184.216.34",
		"db.ns.svc.cluster.local.": "10.1.1.1", "localhost": "127.0.0.1", "absent": "", "broken": ""} {
		got, err := p.LookupHost(t.Context(), name)
		if want == "" {
			if err == nil {
				t.Errorf("%s is %v", name, got)
			}
			continue
		}
		if err != nil || !slices.Contains(got, netip.MustParseAddr(want)) {
			t.Errorf("%s is %v, %v", name, got, err)
		}
	}
	var absent *net.DNSError
	if _, err := p.LookupHost(t.Context(), "absent"); !errors.As(err, &absent) || !absent.IsNotFound {
		t.Errorf("a name that is not there: %v", err)
	}
	if _, err := p.LookupHost(t.Context(), "broken"); !errors.As(err, &absent) || absent.IsNotFound {
		t.Errorf("a name that could not be looked up: %v", err)
	}
	z.mu.Lock() // a question that nobody waits for any more may still come in
	defer z.mu.Unlock()
	if slices.Contains(z.asked, "broken.svc.cluster.local") || slices.Contains(z.asked, "broken") {
		t.Errorf("after a failure, another name was asked for: %q", z.asked)
	}
	if slices.Contains(z.asked, "localhost") {
		t.Error("localhost was asked for")
	}
}

func TestLookupAsksTheNextServer(t *testing.T) {
	z := &zone{names: map[string][]byte{"db": {10, 1, 1, 1}}}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	d := parseDNS(t, []string{silent.LocalAddr().String(), z.serve(t)}, nil, nil)
	d.timeout = 50 * time.Millisecond
	p := parse(t, "dns").WithDNS(d)
	if got, err := p.LookupHost(t.Context(), "db"); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.LookupHost(ctx, "db"); err == nil {
		t.Error("with an ended context")
	}
}

// TestTrustedDomain: a grant by name leads to the cluster's own loopback addresses by the cluster's names, and no others do.
func TestTrustedDomain(t *testing.T) {
	port := server(t)
	z := &zone{names: map[string][]byte{
		"db.ns.svc.cluster.local": {127, 0, 0, 1}, "evil.ns.svc.cluster.local": {127, 9, 9, 9}, "evil.example.com": {127, 0, 0, 1},
	}}
	plain := parseDNS(t, []string{z.serve(t)}, clusterSearches, []string{"ndots:5"})
	trusting, err := plain.Trusting("cluster.local", []string{"127.0.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d           DNS
		grant, name string
		ok          bool
	}{
		{trusting, "tcp:db:" + port, "db", true},
		{trusting, "tcp:db.ns:" + port, "db.ns", true},
		{trusting, "tcp:db.other:" + port, "db.other", false}, // no such name
		{trusting, "tcp:*:" + port, "db.ns.svc.cluster.local", true},
		{plain, "tcp:db:" + port, "db", false},
		{trusting, "tcp:evil:" + port, "evil", false},
		{trusting, "tcp:*:" + port, "evil.example.com", false},
		{trusting, "tcp:other:" + port, "db", false},
		{trusting, "tcp:192.0.2.0/24:" + port, "db", false}, // the name itself is not granted
	} {
		conn, err := parse(t, c.grant).WithDNS(c.d).DialContext(t.Context(), "tcp4", net.JoinHostPort(c.name, port))
		if (err == nil) != c.ok {
			t.Errorf("%s to %s: %v", c.grant, c.name, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func FuzzParseDNS(f *testing.F) {
	f.Add("127.0.0.1:53", "cluster.local", "ndots:5", "db")
	f.Fuzz(func(t *testing.T, server, search, option, name string) {
		d, err := ParseDNS([]string{server}, []string{search}, []string{option})
		if err != nil {
			return
		}
		if d.ndots < 0 || d.ndots > maxNdots || d.attempts < 1 || d.timeout <= 0 {
			t.Errorf("%+v", d)
		}
		for _, full := range d.candidates(name) {
			if !strings.HasSuffix(full, ".") || !strings.HasPrefix(full, name) {
				t.Errorf("%q of %q", full, name)
			}
		}
	})
}
