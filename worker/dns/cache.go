package dns

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// question is what answers are kept by. The two flags change what an upstream answers.
type question struct {
	name     string // in lower case
	qtype    uint16
	do       bool // DNSSEC's records are wanted
	checking bool // and not checked: CD
}

// cached is one answer. It does not change once it is in the cache.
type cached struct {
	key     question
	msg     *dns.Msg
	stored  time.Time
	expires time.Time
	cost    int
	retry   atomic.Int64 // when a fresh answer may be asked for again, in nanoseconds of Unix time
}

// leave notes that no fresh answer was to be had, and left tells that it was a short while ago: there is a stale one, so
// nobody needs to ask again yet.
func (e *cached) leave(now time.Time)     { e.retry.Store(now.Add(staleRetry).UnixNano()) }
func (e *cached) left(now time.Time) bool { return now.UnixNano() < e.retry.Load() }

// cache keeps answers of upstreams, the least recently used of which go first.
type cache struct {
	entries, bytes int // the limits
	now            func() time.Time

	mu    sync.Mutex
	by    map[question]*list.Element
	order *list.List // the front was used last
	cost  int
}

func newCache(entries, bytes int, now func() time.Time) *cache {
	return &cache{entries: entries, bytes: bytes, now: now, by: map[question]*list.Element{}, order: list.New()}
}

// get is the answer that is kept, fresh or not; nil when there is none that may still be given.
func (c *cache) get(key question) (hit *cached, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.by[key]
	if at == nil {
		return nil, false
	}
	hit = at.Value.(*cached)
	now := c.now()
	if now.After(hit.expires.Add(staleFor(hit.msg))) {
		c.remove(at)
		return nil, false
	}
	c.order.MoveToFront(at)
	return hit, now.Before(hit.expires)
}

// staleFor is how long an answer may be given after it was fresh. A failure is of no use then.
func staleFor(msg *dns.Msg) time.Duration {
	if msg.Rcode == dns.RcodeSuccess || msg.Rcode == dns.RcodeNameError {
		return maxStale
	}
	return 0
}

// put keeps an answer for as long as it says, if it may be kept at all. A failure does not take the place of an answer.
func (c *cache) put(key question, msg *dns.Msg) {
	ttl, ok := lifetime(msg)
	if !ok {
		return
	}
	now := c.now()
	e := &cached{key: key, msg: msg, stored: now, expires: now.Add(ttl), cost: msg.Len() + entryOverhead}
	if e.cost > c.bytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.by[key]; old != nil {
		if staleFor(msg) == 0 && staleFor(old.Value.(*cached).msg) > 0 {
			return
		}
		c.remove(old)
	}
	c.by[key] = c.order.PushFront(e)
	c.cost += e.cost
	for c.order.Len() > c.entries || c.cost > c.bytes {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(at *list.Element) {
	e := c.order.Remove(at).(*cached)
	delete(c.by, e.key)
	c.cost -= e.cost
}

func (c *cache) size() (entries, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len(), c.cost
}

// lifetime is how long an answer is fresh; ok is false for one that is not to be kept.
func lifetime(msg *dns.Msg) (ttl time.Duration, ok bool) {
	switch {
	case msg.Truncated:
		return 0, false
	case msg.Rcode == dns.RcodeServerFailure || msg.Rcode == dns.RcodeRefused:
		return failureTTL, true
	case msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError:
		return 0, false
	}
	if msg.Rcode == dns.RcodeNameError || !answers(msg) {
		return negativeLifetime(msg)
	}
	least := uint32(maxTTL / time.Second)
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				least = min(least, rr.Header().Ttl)
			}
		}
	}
	return time.Duration(least) * time.Second, least > 0
}

// answers tells whether what was asked for is there: aliases that lead nowhere are the absence of it.
func answers(msg *dns.Msg) bool {
	if len(msg.Question) != 1 {
		return len(msg.Answer) > 0
	}
	for _, rr := range msg.Answer {
		if t := rr.Header().Rrtype; t == msg.Question[0].Qtype {
			return true
		}
	}
	return false
}

// negativeLifetime is what the SOA says, by RFC 2308. Without one, the absence is not kept.
func negativeLifetime(msg *dns.Msg) (time.Duration, bool) {
	for _, rr := range msg.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			seconds := min(soa.Minttl, soa.Hdr.Ttl, uint32(maxNegativeTTL/time.Second))
			for _, alias := range msg.Answer {
				seconds = min(seconds, alias.Header().Ttl)
			}
			return time.Duration(seconds) * time.Second, seconds > 0
		}
	}
	return 0, false
}

// at is the message as it is to be given now: with what is left of its records' times or, when it is stale, staleTTL.
func (e *cached) at(now time.Time) *dns.Msg {
	msg := e.msg.Copy()
	stale := !now.Before(e.expires)
	age := uint32(max(0, now.Sub(e.stored)) / time.Second)
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			h := rr.Header()
			switch {
			case h.Rrtype == dns.TypeOPT:
			case stale:
				h.Ttl = min(h.Ttl, staleTTL)
			default:
				h.Ttl -= min(h.Ttl, age)
			}
		}
	}
	return msg
}
