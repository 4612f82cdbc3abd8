package egress

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t *testing.T, grants ...string) *Policy {
	t.Helper()
	p, err := Parse(grants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{
		"", "tcp", "tcp:", "tcp:db", "tcp:db:", "tcp:db:0", "tcp:db:65536", "tcp:db:+1", "tcp:db:9-1", "tcp:db:1-", "tcp:db:http",
		"icmp:host:1", "tcp::80", "tcp:a b:80", "tcp:*.:80", "tcp:a.*.b:80", "tcp:**:80", "tcp:10.0.0.0/33:80", "tcp:fd00::1:80",
		"tcp:[fd00::1:80", "tcp:[fd00::1]", "tcp:[fe80::1%eth0]:80", "tcp:-:x", "http:", "https:host:", "dns:x", "**", "tcp:" + strings.Repeat("a", 600) + ":1",
		"tcp:" + strings.Repeat("a", 64) + ":1", "udp:a..b:1",
	} {
		if p, err := Parse([]string{bad}); err == nil {
			t.Errorf("%q is accepted: %+v", bad, p.grants)
		} else if bad != "" && len(bad) < 100 && !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error does not name it: %v", bad, err)
		}
	}
	if _, err := Parse(make([]string, MaxGrants+1)); err == nil {
		t.Error("there is no limit on grants")
	}
}

// check tells whether a target is allowed, with the addresses that its name is said to have.
func (p *Policy) checkWith(schemes []string, address string, resolved ...string) (bool, error) {
	t, err := newTarget(schemes, address)
	if err != nil {
		return false, err
	}
	if err := p.check(t); err != nil {
		return false, err
	}
	if t.name == "" {
		return true, nil
	}
	for _, a := range resolved {
		if p.allowsResolved(t, netip.MustParseAddr(a)) {
			return true, nil
		}
	}
	return false, nil
}

func TestPolicy(t *testing.T) {
	tests := []struct {
		grants   string
		scheme   string
		address  string
		resolved string
		want     bool
	}{
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "93.184.216.34", true},
		{"tcp:db.example.com:5432", "tcp", "DB.Example.com.:5432", "93.184.216.34", true},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5433", "93.184.216.34", false},
		{"tcp:db.example.com:5432", "udp", "db.example.com:5432", "93.184.216.34", false},
		{"tcp:db.example.com:5432", "tcp", "db.example.com.evil.org:5432", "93.184.216.34", false},
		{"tcp:db.example.com:5432", "tcp", "93.184.216.34:5432", "", false},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "10.0.0.5", true},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "127.0.0.1", false},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "169.254.169.254", false},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "::1", false},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "::ffff:127.0.0.1", false},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "64:ff9b::7f00:1", false},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "2002:7f00:1::", false},
		{"tcp:db.example.com:5432", "tcp", "db.example.com:5432", "0.0.0.0", false},
		{"tcp:db.example.com:5432 tcp:127.0.0.0/8:5432", "tcp", "db.example.com:5432", "127.0.0.1", true},
		{"tcp:db.example.com:5432 tcp:127.0.0.0/8:5433", "tcp", "db.example.com:5432", "127.0.0.1", false},
		{"tcp:*.example.com:80-90", "tcp", "a.b.example.com:85", "1.1.1.1", true},
		{"tcp:*.example.com:80-90", "tcp", "example.com:85", "1.1.1.1", false},
		{"tcp:*.example.com:80-90", "tcp", "badexample.com:85", "1.1.1.1", false},
		{"tcp:*.example.com:80-90", "tcp", "a.example.com:91", "1.1.1.1", false},
		{"udp:*:53", "udp", "dns.example:53", "9.9.9.9", true},
		{"udp:*:53", "udp", "9.9.9.9:53", "", true},
		{"udp:*:53", "udp", "127.0.0.1:53", "", false},
		{"udp:*:53", "udp", "[::1]:53", "", false},
		{"tcp:127.0.0.0/8:8000-8999", "tcp", "127.3.2.1:8500", "", true},
		{"tcp:127.0.0.0/8:8000-8999", "tcp", "[::ffff:127.3.2.1]:8500", "", true},
		{"tcp:127.0.0.0/8:8000-8999", "tcp", "128.0.0.1:8500", "", false},
		{"tcp:127.0.0.0/8:8000-8999", "tcp", "any.name:8500", "127.1.1.1", true},
		{"tcp:127.0.0.0/8:8000-8999", "tcp", "any.name:8500", "1.1.1.1", false},
		{"tcp:[fd00::/8]:443", "tcp", "[fd12::1]:443", "", true},
		{"tcp:[fd00::1]:443", "tcp", "[fd00::2]:443", "", false},
		{"tcp:localhost:*", "tcp", "localhost:9999", "127.0.0.1", true},
		{"tcp:localhost:*", "tcp", "localhost:9999", "169.254.1.1", false},
		{"*", "tcp", "anything:1", "127.0.0.1", true},
		{"*", "udp", "169.254.169.254:80", "", true},
		{"http:api.example.com", "http", "api.example.com:80", "1.1.1.1", true},
		{"http:api.example.com", "http", "api.example.com:8080", "1.1.1.1", false},
		{"http:api.example.com", "https", "api.example.com:80", "1.1.1.1", false},
		{"http:api.example.com", "tcp", "api.example.com:80", "1.1.1.1", false},
		{"https:*.example.com", "https", "api.example.com:443", "1.1.1.1", true},
		{"https:*", "https", "x:443", "1.1.1.1", true},
		{"tcp:api:443", "https", "api:443", "1.1.1.1", true},
		{"", "tcp", "x:1", "1.1.1.1", false},
	}
	for _, tt := range tests {
		p := parse(t, strings.Fields(tt.grants)...)
		schemes := []string{tt.scheme}
		if s, err := httpSchemes(tt.scheme); err == nil {
			schemes = s
		}
		got, err := p.checkWith(schemes, tt.address, strings.Fields(tt.resolved)...)
		if got != tt.want {
			t.Errorf("%q, %s to %s (%s): %v, want %v (%v)", tt.grants, tt.scheme, tt.address, tt.resolved, got, tt.want, err)
		}
		if err != nil {
			var denied *DeniedError
			if !errors.As(err, &denied) || !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%q: %T %v", tt.grants, err, err)
				continue
			}
			// The grant that it names would allow it.
			if tt.resolved != "127.0.0.1" {
				if ok, _ := parse(t, denied.Grant).checkWith(schemes, tt.address, strings.Fields(tt.resolved)...); !ok {
					t.Errorf("%v: it would not", err)
				}
			}
		}
	}
}

func TestNilDeniesAll(t *testing.T) {
	var p *Policy
	var denied *DeniedError
	if _, err := p.DialContext(t.Context(), "tcp", "127.0.0.1:1"); !errors.As(err, &denied) {
		t.Errorf("dial: %v", err)
	}
	if _, err := p.DialHTTP(t.Context(), "http", "tcp", "127.0.0.1:1"); !errors.As(err, &denied) {
		t.Errorf("dial for a request: %v", err)
	}
	if err := p.CheckHTTP("https", "host", 443); !errors.As(err, &denied) || denied.Grant != "https:host:443" {
		t.Errorf("check: %v", err)
	}
	if _, err := p.LookupHost(t.Context(), "localhost"); !errors.As(err, &denied) {
		t.Errorf("look up: %v", err)
	}
}

func server(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			k, err := l.Accept()
			if err != nil {
				return
			}
			_ = k.Close()
		}
	}()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func TestDial(t *testing.T) {
	port := server(t)
	for _, tt := range []struct {
		grant, address string
		ok             bool
	}{
		{"tcp:localhost:" + port, "localhost:" + port, true},
		{"tcp:127.0.0.0/8:1-65535", "localhost:" + port, true},
		{"tcp:127.0.0.1:" + port, "127.0.0.1:" + port, true},
		{"tcp:*:" + port, "127.0.0.1:" + port, false},
		{"udp:127.0.0.1:" + port, "127.0.0.1:" + port, false},
	} {
		p := parse(t, tt.grant)
		k, err := p.DialContext(t.Context(), "tcp", tt.address)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.grant, err)
		}
		if err == nil {
			_ = k.Close()
		}
	}
	k, err := parse(t, "http:127.0.0.1:"+port).DialHTTP(t.Context(), "http", "tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	_ = k.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := parse(t, "*").DialContext(ctx, "tcp", "localhost:"+port); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "cancel") {
		t.Errorf("with an ended context: %v", err)
	}
	for _, bad := range []string{"unix", "ip", ""} {
		if _, err := parse(t, "*").DialContext(t.Context(), bad, "localhost:1"); err == nil {
			t.Errorf("network %q is dialled", bad)
		}
	}
	for _, bad := range []string{"", "x", "x:0", "x:99999", "a b:1", "[fe80::1%lo]:1"} {
		if _, err := parse(t, "*").DialContext(t.Context(), "tcp", bad); err == nil {
			t.Errorf("address %q is dialled", bad)
		}
	}
}

// A name that changes what it leads to is asked once.
func TestNoSecondLookup(t *testing.T) {
	port := server(t)
	var lookups atomic.Int64
	p := parse(t, "tcp:rebind.test:"+port, "tcp:127.0.0.1:"+port)
	p.resolver = fakeDNS(t, func() [4]byte {
		if lookups.Add(1) > 1 {
			return [4]byte{169, 254, 169, 254}
		}
		return [4]byte{127, 0, 0, 1}
	})
	k, err := p.DialContext(t.Context(), "tcp4", "rebind.test:"+port)
	if err != nil {
		t.Fatal(err)
	}
	if got := k.RemoteAddr().String(); got != "127.0.0.1:"+port || lookups.Load() != 1 {
		t.Errorf("connected to %s after %d lookups", got, lookups.Load())
	}
	_ = k.Close()
	var denied *DeniedError
	if _, err := p.DialContext(t.Context(), "tcp4", "rebind.test:"+port); !errors.As(err, &denied) || denied.Address != "169.254.169.254:"+port {
		t.Errorf("the second time: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"*", "dns", "tcp:db.example.com:5432", "udp:*:53", "tcp:[fd00::/8]:1-2", "http:*.a", "https:a:*"} {
		f.Add(seed, "tcp", "host.example:80")
	}
	f.Fuzz(func(t *testing.T, text, network, address string) {
		p, err := Parse([]string{text})
		if err != nil {
			return
		}
		target, err := newTarget([]string{network}, address)
		if err != nil {
			return
		}
		if err := p.check(target); err != nil {
			return
		}
		// What is allowed by a grant has its scheme and port.
		for _, g := range p.grants {
			if (g.scheme != network || !g.ports.has(target.port)) && !p.everything {
				t.Errorf("%q allows %s to %s", text, network, address)
			}
		}
		p.allowsResolved(target, netip.MustParseAddr("127.0.0.1"))
	})
}
