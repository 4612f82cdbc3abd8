package dns

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// ServeDNS implements dns.Handler. What is no query of one question, the library refuses before.
func (s *Server) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	if s.working.Add(1) > maxQueries {
		s.working.Add(-1)
		s.metrics.dropped.Inc()
		return
	}
	defer s.working.Add(-1)
	began := time.Now()
	protocol := "udp"
	if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
		protocol = "tcp"
	}
	answer, from := s.answer(s.context(), r)
	answer.Compress = true
	size := dns.MaxMsgSize
	if protocol == "udp" {
		size = datagram(r)
	}
	answer.Truncate(size)
	if err := w.WriteMsg(answer); err != nil {
		s.cfg.Logger.Debug("dns answer was not sent", "client", w.RemoteAddr().String(), "error", err)
	}
	s.metrics.requests.WithLabelValues(protocol, string(from), dns.RcodeToString[answer.Rcode]).Inc()
	s.metrics.latency.WithLabelValues(string(from)).Observe(time.Since(began).Seconds())
}

// datagram is the largest answer that the client takes over UDP, within what is sent at all.
func datagram(r *dns.Msg) int {
	if opt := r.IsEdns0(); opt != nil {
		return int(min(max(opt.UDPSize(), minUDP), maxUDP))
	}
	return minUDP
}

// answer makes the answer to a query, whatever it is.
func (s *Server) answer(ctx context.Context, r *dns.Msg) (*dns.Msg, source) {
	m := new(dns.Msg)
	m.SetReply(r)
	m.RecursionAvailable = true
	opt := r.IsEdns0()
	if opt != nil {
		m.SetEdns0(maxUDP, opt.Do())
		if opt.Version() != 0 {
			m.Rcode = dns.RcodeBadVers
			return m, fromNowhere
		}
	}
	if r.Opcode != dns.OpcodeQuery || len(r.Question) != 1 {
		m.Rcode = dns.RcodeNotImplemented
		return m, fromNowhere
	}
	switch q := r.Question[0]; {
	case q.Qclass != dns.ClassINET || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR:
		m.Rcode = dns.RcodeRefused
		return m, fromNowhere
	case q.Qtype == dns.TypeANY: // RFC 8482
		m.Answer = []dns.RR{&dns.HINFO{Hdr: header(q.Name, dns.TypeHINFO, versionTTL), Cpu: "RFC8482"}}
		return m, fromNowhere
	}
	from := s.fill(ctx, m, r)
	return m, from
}

// fill adds the records to the answer. An alias that leads out of what is known here is followed.
func (s *Server) fill(ctx context.Context, m, r *dns.Msg) source {
	q := r.Question[0]
	name := q.Name
	for range maxAliases {
		a, ours := s.own(name, q.Qtype)
		if !ours {
			return s.forward(ctx, m, r, name)
		}
		m.Authoritative = name == q.Name
		if !s.table.isKnown() && !a.exists {
			m.Rcode = dns.RcodeServerFailure // not known yet is not absent
			return fromCluster
		}
		m.Answer = append(m.Answer, a.records...)
		m.Extra = append(m.Extra, a.extra...)
		if a.alias == "" || q.Qtype == dns.TypeCNAME {
			if !a.exists {
				m.Rcode = dns.RcodeNameError
			}
			if len(a.records) == 0 && dns.IsSubDomain(s.zone.domain, strings.ToLower(name)) {
				m.Ns = append(m.Ns, s.zone.soa())
			}
			return fromCluster
		}
		name = a.alias
	}
	m.Rcode = dns.RcodeServerFailure // a ring of aliases
	return fromCluster
}

// own answers what is not for upstreams: the cluster's names, its addresses, and what is every host's own.
func (s *Server) own(name string, qtype uint16) (answer, bool) {
	if a, ok := s.zone.lookup(name, qtype); ok {
		return a, true
	}
	if a, ok := s.zone.reverse(name, qtype); ok {
		return a, true
	}
	if !isLocalName(name) {
		return answer{}, false
	}
	return local(name, qtype), true
}

// forward adds what upstreams say about a name.
func (s *Server) forward(ctx context.Context, m, r *dns.Msg, name string) source {
	if !r.RecursionDesired {
		m.Rcode = dns.RcodeRefused
		return fromNowhere
	}
	key := question{name: strings.ToLower(name), qtype: r.Question[0].Qtype, checking: r.CheckingDisabled}
	if opt := r.IsEdns0(); opt != nil {
		key.do = opt.Do()
	}
	got, from, err := s.forwarder.resolve(ctx, key)
	if err != nil {
		s.cfg.Logger.Debug("dns name was not resolved", "name", name, "error", err)
		m.Rcode = dns.RcodeServerFailure
		return from
	}
	m.Rcode = got.Rcode
	m.AuthenticatedData = got.AuthenticatedData && (key.do || r.AuthenticatedData)
	m.CheckingDisabled = r.CheckingDisabled
	m.Answer = append(m.Answer, got.Answer...)
	m.Ns = append(m.Ns, got.Ns...)
	for _, rr := range got.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			m.Extra = append(m.Extra, rr)
		}
	}
	return from
}
