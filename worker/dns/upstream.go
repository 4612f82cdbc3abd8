package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// upstream is one server that is asked.
type upstream struct {
	addr     netip.AddrPort
	failures atomic.Int64 // in a row
	down     atomic.Bool
}

// errForeign is the error of an answer that is not to the question.
var errForeign = errors.New("the answer is to another question")

// exchange asks the server once, over TCP when the answer does not fit into a datagram.
func (u *upstream) exchange(ctx context.Context, query *dns.Msg, patience time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := u.over(ctx, "udp", query)
	if err == nil && answer.Truncated {
		answer, err = u.over(ctx, "tcp", query)
	}
	if err == nil && query.IsEdns0() != nil && (answer.Rcode == dns.RcodeFormatError || answer.Rcode == dns.RcodeNotImplemented) {
		plain := query.Copy() // a server from before EDNS
		plain.Extra = nil
		answer, err = u.over(ctx, "udp", plain)
	}
	return answer, err
}

func (u *upstream) over(ctx context.Context, network string, query *dns.Msg) (*dns.Msg, error) {
	client := dns.Client{Net: network, Timeout: attemptTimeout, UDPSize: maxUDP}
	answer, _, err := client.ExchangeContext(ctx, query, u.addr.String())
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", u.addr, err)
	}
	if !answer.Response || !sameQuestion(answer, query) {
		return nil, fmt.Errorf("ask %s: %w", u.addr, errForeign)
	}
	return answer, nil
}

// sameQuestion lets an answer without any question pass when it is a failure: some servers send those so.
func sameQuestion(answer, query *dns.Msg) bool {
	if len(answer.Question) == 0 {
		return answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError
	}
	a, q := answer.Question[0], query.Question[0]
	return len(answer.Question) == 1 && a.Qtype == q.Qtype && a.Qclass == q.Qclass && strings.EqualFold(a.Name, q.Name)
}

// well notes an answer, unwell a failure; both tell whether that changed what is thought of the server.
func (u *upstream) well() bool {
	u.failures.Store(0)
	return u.down.CompareAndSwap(true, false)
}

func (u *upstream) unwell() bool {
	return u.failures.Add(1) >= failuresToDown && u.down.CompareAndSwap(false, true)
}

// probe asks for the root's servers: everybody who forwards or resolves can answer that.
func (u *upstream) probe(ctx context.Context) error {
	query := new(dns.Msg)
	query.SetQuestion(".", dns.TypeNS)
	_, err := u.exchange(ctx, query, attemptTimeout)
	return err
}

// pool is the servers that are asked, in order.
type pool struct {
	list atomic.Pointer[[]*upstream]
}

func newPool() *pool {
	p := &pool{}
	p.list.Store(&[]*upstream{})
	return p
}

func (p *pool) all() []*upstream { return *p.list.Load() }

// set replaces the servers; what is known of those that stay is kept. It is called from one goroutine at a time.
func (p *pool) set(addrs []netip.AddrPort) (changed bool) {
	old := p.all()
	next := make([]*upstream, 0, len(addrs))
	for _, addr := range addrs {
		if slices.ContainsFunc(next, func(u *upstream) bool { return u.addr == addr }) || len(next) == maxUpstreams {
			continue
		}
		i := slices.IndexFunc(old, func(u *upstream) bool { return u.addr == addr })
		if i >= 0 {
			next = append(next, old[i])
		} else {
			next = append(next, &upstream{addr: addr})
		}
	}
	if slices.Equal(old, next) {
		return false
	}
	p.list.Store(&next)
	return true
}

// ranked are the servers in the order in which they are to be asked: those that are down last.
func (p *pool) ranked() []*upstream {
	out := slices.Clone(p.all())
	slices.SortStableFunc(out, func(a, b *upstream) int {
		switch down := a.down.Load(); {
		case down == b.down.Load():
			return 0
		case down:
			return 1
		}
		return -1
	})
	return out
}

// allDown tells whether nobody is known to answer.
func (p *pool) allDown() bool {
	return !slices.ContainsFunc(p.all(), func(u *upstream) bool { return !u.down.Load() })
}
