package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func up(addrs ...netip.AddrPort) Config { return Config{Upstreams: addrs, ResolvConf: "/nonexistent"} }

func TestForwardsAndCaches(t *testing.T) {
	upstream := &counting{ttl: 60}
	s := newTestServer(t, up(serveUpstream(t, upstream.handle)))
	start(t, s)
	eventually(t, "an upstream", func() bool { return len(s.forwarder.pool.all()) == 1 })
	for i := range 3 {
		m := s.ask(t, query([]string{"www.example.com", "WWW.example.com"}[i%2], dns.TypeA))
		if m.Rcode != noError || len(m.Answer) != 1 || m.Authoritative || m.Question[0].Name[:3] != []string{"www", "WWW"}[i%2] {
			t.Fatalf("answer %v", m)
		}
	}
	if n := upstream.n.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	with := query("www.example.com", dns.TypeA)
	with.SetEdns0(4096, true)
	if m := s.ask(t, with); upstream.n.Load() != 2 || m.IsEdns0() == nil || m.IsEdns0().UDPSize() != maxUDP || !m.IsEdns0().Do() {
		t.Errorf("with DNSSEC's records: %v, asked %d times", m, upstream.n.Load())
	}
	without := query("new.example.com", dns.TypeA)
	without.RecursionDesired = false
	if m := s.ask(t, without); m.Rcode != dns.RcodeRefused {
		t.Errorf("without recursion: %v", m)
	}
}

func TestOneQuestionIsAskedOnce(t *testing.T) {
	upstream := &counting{ttl: 0, pause: 200 * time.Millisecond} // and not kept
	s := newTestServer(t, up(serveUpstream(t, upstream.handle)))
	start(t, s)
	eventually(t, "an upstream", func() bool { return len(s.forwarder.pool.all()) == 1 })
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			if m := s.ask(t, query("www.example.com", dns.TypeA)); len(m.Answer) != 1 {
				t.Errorf("answer %v", m)
			}
		})
	}
	asking.Wait()
	if n := upstream.n.Load(); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestNextUpstream(t *testing.T) {
	refuse := func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(r, dns.RcodeRefused)
		_ = w.WriteMsg(m)
	}
	foreign := func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		m.Question[0].Name = "other.example.com."
		_ = w.WriteMsg(m)
	}
	old := func(w dns.ResponseWriter, r *dns.Msg) {
		if r.IsEdns0() != nil {
			m := new(dns.Msg)
			m.SetRcodeFormatError(r)
			_ = w.WriteMsg(m)
			return
		}
		(&counting{ttl: 1}).handle(w, r)
	}
	good := &counting{ttl: 1}
	for name, c := range map[string]struct {
		servers []netip.AddrPort
		rcode   int
		down    bool
	}{
		"nobody there, then a good one": {[]netip.AddrPort{freeAddress(t), serveUpstream(t, good.handle)}, noError, false},
		"refusing, then a good one":     {[]netip.AddrPort{serveUpstream(t, refuse), serveUpstream(t, refuse), serveUpstream(t, good.handle)}, noError, false},
		"a foreign answer, then good":   {[]netip.AddrPort{serveUpstream(t, foreign), serveUpstream(t, good.handle)}, noError, false},
		"all refuse":                    {[]netip.AddrPort{serveUpstream(t, refuse), serveUpstream(t, refuse)}, dns.RcodeRefused, false},
		"nobody there":                  {[]netip.AddrPort{freeAddress(t)}, servfail, true},
		"a server from before EDNS":     {[]netip.AddrPort{serveUpstream(t, old)}, noError, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t, up(c.servers...))
			start(t, s)
			eventually(t, "upstreams", func() bool { return len(s.forwarder.pool.all()) == len(c.servers) })
			if c.rcode == noError { // a machine under load answers late now and then
				eventually(t, "an answer", func() bool {
					m := s.ask(t, query("www.example.com", dns.TypeA))
					return m.Rcode == noError && len(m.Answer) == 1
				})
				return
			}
			if m := s.ask(t, query("www.example.com", dns.TypeA)); m.Rcode != c.rcode {
				t.Errorf("answer %v", m)
			}
			for _, u := range s.forwarder.pool.all() {
				if u.down.Load() != c.down {
					t.Errorf("%s is down: %v", u.addr, u.down.Load())
				}
			}
		})
	}
}

// A server that is down is asked last, and first again once a probe has found it.
func TestHealthOfUpstreams(t *testing.T) {
	second := &counting{ttl: 0}
	first := freeAddress(t)
	s := newTestServer(t, up(first, serveUpstream(t, second.handle)))
	start(t, s)
	eventually(t, "upstreams", func() bool { return len(s.forwarder.pool.all()) == 2 })
	for range failuresToDown {
		s.ask(t, query("www.example.com", dns.TypeA))
	}
	if got := s.forwarder.pool.ranked()[1].addr; got != first {
		t.Fatalf("%s is asked last", got)
	}
	packets, err := net.ListenPacket("udp", first.String())
	if err != nil {
		t.Fatal(err)
	}
	back := &counting{ttl: 0}
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(back.handle)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.ActivateAndServe() })
	defer serving.Wait()
	defer func() { _ = server.Shutdown() }()
	eventually(t, "the first server to be back", func() bool { return s.forwarder.pool.ranked()[0].addr == first && back.n.Load() > 0 })
	before := second.n.Load()
	s.ask(t, query("www.example.com", dns.TypeA))
	if second.n.Load() != before {
		t.Error("the second server was asked")
	}
}

func TestLongAnswersComeOverTCP(t *testing.T) {
	var overTCP atomic.Bool
	at := serveUpstream(t, func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		for i := range 100 {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(r.Question[0].Name, dns.TypeTXT, 60), Txt: []string{fmt.Sprintf("%03d%s", i, strings.Repeat("x", 60))}})
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(maxUDP)
		} else {
			overTCP.Store(true)
		}
		_ = w.WriteMsg(m)
	})
	s := newTestServer(t, up(at))
	start(t, s)
	eventually(t, "an upstream", func() bool { return len(s.forwarder.pool.all()) == 1 })
	if m := s.ask(t, query("long.example.com", dns.TypeTXT)); len(m.Answer) != 100 || m.Truncated || !overTCP.Load() {
		t.Errorf("%d records, truncated %v, over TCP %v", len(m.Answer), m.Truncated, overTCP.Load())
	}
}

func TestFlightsAreLimited(t *testing.T) {
	s := newTestServer(t, up(freeAddress(t)))
	s.reload()
	ctx := t.Context()
	s.forwarder.ctx = ctx
	for i := range maxFlights {
		s.forwarder.flights[question{name: fmt.Sprint(i)}] = &flight{}
	}
	if _, _, err := s.forwarder.resolve(ctx, question{name: "one.more.", qtype: dns.TypeA}); err != errBusy {
		t.Errorf("beyond the limit: %v", err)
	}
}

func reply(name string, qtype uint16, rcode int, rrs ...dns.RR) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(query(name, qtype), rcode)
	for _, rr := range rrs {
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func a(name string, ttl uint32) dns.RR {
	return &dns.A{Hdr: header(dns.Fqdn(name), dns.TypeA, ttl), A: net.IPv4(192, 0, 2, 1)}
}

func soa(ttl, minimum uint32) dns.RR {
	return &dns.SOA{Hdr: header("com.", dns.TypeSOA, ttl), Ns: "ns.", Mbox: "m.", Minttl: minimum}
}

func TestLifetimes(t *testing.T) {
	alias := &dns.CNAME{Hdr: header("x.com.", dns.TypeCNAME, 20), Target: "y.com."}
	truncated := reply("x.com", dns.TypeA, noError, a("x.com", 9))
	truncated.Truncated = true
	for name, c := range map[string]struct {
		msg  *dns.Msg
		want time.Duration
	}{
		"the least of all":              {reply("x.com", dns.TypeA, noError, a("x.com", 60), a("x.com", 30)), 30 * time.Second},
		"an hour at most":               {reply("x.com", dns.TypeA, noError, a("x.com", 1e6)), maxTTL},
		"none":                          {reply("x.com", dns.TypeA, noError, a("x.com", 0)), 0},
		"truncated":                     {truncated, 0},
		"no such name":                  {reply("x.com", dns.TypeA, nxdomain, soa(100, 50)), 50 * time.Second},
		"no such name, the SOA's own":   {reply("x.com", dns.TypeA, nxdomain, soa(10, 50)), 10 * time.Second},
		"no such name, long":            {reply("x.com", dns.TypeA, nxdomain, soa(1e6, 1e6)), maxNegativeTTL},
		"no such name, nobody says":     {reply("x.com", dns.TypeA, nxdomain), 0},
		"no such record":                {reply("x.com", dns.TypeA, noError, soa(100, 40)), 40 * time.Second},
		"an alias that leads nowhere":   {reply("x.com", dns.TypeA, noError, alias, soa(100, 40)), 20 * time.Second},
		"an alias that leads somewhere": {reply("x.com", dns.TypeA, noError, alias, a("y.com", 60)), 20 * time.Second},
		"a failure":                     {reply("x.com", dns.TypeA, servfail), failureTTL},
		"nonsense":                      {reply("x.com", dns.TypeA, dns.RcodeFormatError), 0},
	} {
		if got, ok := lifetime(c.msg); got != c.want && ok || ok != (c.want > 0) {
			t.Errorf("%s: %v %v, want %v", name, got, ok, c.want)
		}
	}
}

func TestCacheAges(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCache(10, 1<<20, func() time.Time { return now })
	key := question{name: "x.com.", qtype: dns.TypeA}
	c.put(key, reply("x.com", dns.TypeA, noError, a("x.com", 60)))
	now = now.Add(20 * time.Second)
	hit, fresh := c.get(key)
	if hit == nil || !fresh || hit.at(now).Answer[0].Header().Ttl != 40 {
		t.Fatalf("after 20 s: %v %v", hit, fresh)
	}
	now = now.Add(time.Minute)
	if hit, fresh = c.get(key); hit == nil || fresh || hit.at(now).Answer[0].Header().Ttl != staleTTL {
		t.Fatalf("after its time: %v %v", hit, fresh)
	}
	c.put(key, reply("x.com", dns.TypeA, servfail))
	if hit, _ = c.get(key); hit == nil || hit.msg.Rcode != noError {
		t.Error("a failure took an answer's place")
	}
	now = now.Add(maxStale)
	if hit, _ = c.get(key); hit != nil {
		t.Error("an answer is kept for ever")
	}
	if n, bytes := c.size(); n != 0 || bytes != 0 {
		t.Errorf("%d entries, %d bytes", n, bytes)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(10, 1<<20, time.Now)
	put := func(i int) { c.put(question{name: fmt.Sprint(i)}, reply("x.com", dns.TypeA, noError, a("x.com", 60))) }
	for i := range 12 {
		put(i)
		c.get(question{name: "0"}) // it stays in use
	}
	if n, _ := c.size(); n != 10 {
		t.Errorf("%d entries", n)
	}
	if hit, _ := c.get(question{name: "0"}); hit == nil {
		t.Error("what is used goes first")
	}
	if hit, _ := c.get(question{name: "1"}); hit != nil {
		t.Error("what is not used stays")
	}
	small := newCache(1000, 3*entryOverhead, time.Now)
	c = small
	for i := range 100 {
		put(i)
	}
	if _, bytes := small.size(); bytes > 3*entryOverhead || bytes == 0 {
		t.Errorf("%d bytes", bytes)
	}
	huge := reply("x.com", dns.TypeTXT, noError)
	huge.Answer = []dns.RR{&dns.TXT{Hdr: header("x.com.", dns.TypeTXT, 60), Txt: []string{strings.Repeat("x", 200), strings.Repeat("x", 200),
		strings.Repeat("x", 200), strings.Repeat("x", 200), strings.Repeat("x", 200), strings.Repeat("x", 200)}}}
	small.put(question{name: "huge"}, huge)
	if hit, _ := small.get(question{name: "huge"}); hit != nil {
		t.Error("an answer larger than the cache is kept")
	}
}

// When nobody answers, what was said last is given: soon while somebody may answer, at once when nobody is known to.
func TestServesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForwarder(newMetrics(), newTestServer(t, Config{ResolvConf: "/nonexistent"}).cfg.Logger)
		key := question{name: "x.com.", qtype: dns.TypeA}
		f.cache.put(key, reply("x.com", dns.TypeA, noError, a("x.com", 1)))
		time.Sleep(2 * time.Second)
		f.pool.set([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")})
		slow := &flight{done: make(chan struct{})} // on its way for ever
		f.flights[key] = slow
		ask := func() time.Duration {
			t.Helper()
			began := time.Now()
			m, from, err := f.resolve(t.Context(), key)
			if err != nil || from != fromStale || m.Answer[0].Header().Ttl != 1 {
				t.Fatalf("%v from %s: %v", m, from, err)
			}
			return time.Since(began)
		}
		if took := ask(); took != staleWait {
			t.Errorf("the first client waited %v", took)
		}
		if took := ask(); took != 0 {
			t.Errorf("the second client waited %v", took)
		}
		time.Sleep(staleRetry)
		f.pool.all()[0].down.Store(true)
		if took := ask(); took != 0 {
			t.Errorf("with nobody to answer: %v", took)
		}
		time.Sleep(staleRetry)
		slow.msg = reply("x.com", dns.TypeA, servfail)
		close(slow.done)
		if took := ask(); took != 0 {
			t.Errorf("after a failure: %v", took)
		}
		time.Sleep(staleRetry)
		slow.msg = reply("x.com", dns.TypeA, noError, a("x.com", 7))
		if m, from, err := f.resolve(t.Context(), key); err != nil || from != fromUpstream || m.Answer[0].Header().Ttl != 7 {
			t.Errorf("with a fresh answer: %v from %s: %v", m, from, err)
		}
	})
}

// When every server is down, clients learn it soon, and again at once for a moment.
func TestNobodyAnswers(t *testing.T) {
	silent, err := net.ListenPacket("udp", ownAddress()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := newTestServer(t, up(silent.LocalAddr().(*net.UDPAddr).AddrPort()))
	start(t, s)
	eventually(t, "an upstream", func() bool { return len(s.forwarder.pool.all()) == 1 })
	s.forwarder.pool.all()[0].down.Store(true)
	began := time.Now()
	if m := s.ask(t, query("www.example.com", dns.TypeA)); m.Rcode != servfail {
		t.Errorf("answer %v", m)
	}
	if took := time.Since(began); took < downTimeout || took > resolveTimeout {
		t.Errorf("it took %v", took)
	}
	hit, fresh := s.forwarder.cache.get(question{name: "www.example.com.", qtype: dns.TypeA})
	if hit == nil || !fresh || hit.msg.Rcode != servfail {
		t.Errorf("the failure is not kept: %v", hit)
	}
}

// Who asks when the time to wait is over is told what is known, each time.
func TestServersOfAnEndedContext(t *testing.T) {
	s, at := listening(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if got, err := s.Servers(ctx); err != nil || len(got) != 1 || got[0] != at {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if _, err := newTestServer(t, Config{}).Servers(ctx); err == nil {
		t.Error("a server that does not run knows where it serves")
	}
}
