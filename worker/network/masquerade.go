package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// tableName is our nftables table. Tables of others are not touched.
	tableName = "petrel"
	// filterPriority is that of nftables' "raw": before connection tracking, so that what is dropped costs nothing.
	filterPriority = -300
)

var (
	multicast4 = netip.MustParsePrefix("224.0.0.0/4")
	multicast6 = netip.MustParsePrefix("ff00::/8")
	linkLocal6 = netip.MustParsePrefix("fe80::/10")
)

// filters is what the table is to do.
type filters struct {
	own        []netip.Prefix // this node's pods
	inside     []netip.Prefix // all pods, and multicast: never masqueraded
	nodes      []netip.Prefix // the nodes' addresses
	masquerade bool
	tunnelPort int        // 0: no node is reached through a tunnel
	outer      netip.Addr // where this node's tunnel begins and ends
}

func (n *Network) filters(p *plan) filters {
	f := filters{own: p.own, masquerade: n.cfg.Masquerade, outer: n.cfg.NodeIPs[0], inside: []netip.Prefix{multicast4, multicast6}}
	f.inside = append(f.inside, p.own...)
	f.inside = append(f.inside, n.cfg.ClusterCIDRs...)
	for _, h := range p.hops {
		f.inside = append(f.inside, h.cidr)
	}
	for _, t := range p.tunnels {
		f.inside = append(f.inside, t.cidrs...)
		f.tunnelPort = n.cfg.VXLANPort
	}
	if f.tunnelPort > 0 {
		for _, ip := range p.nodeIPs {
			f.nodes = append(f.nodes, single(ip))
		}
	}
	f.inside, f.nodes = disjoint(f.inside), disjoint(f.nodes)
	return f
}

// disjoint sorts prefixes and leaves out those within another: a set of intervals takes no overlaps.
func disjoint(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, p := range prefixes {
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// fingerprint tells one table from another. Each of its rules carries it.
func (f *filters) fingerprint() string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("petrel filters 2 %+v", *f)))
	return hex.EncodeToString(sum[:8])
}

// mendFilters makes the table what it is to be, in one transaction. Connections that are masqueraded already are
// remembered by the kernel's connection tracking and go on.
func (n *Network) mendFilters(f filters) error {
	conn, err := n.space.nftables()
	if err != nil {
		return err
	}
	have, err := standingRules(conn)
	if err != nil {
		return err
	}
	b := &builder{conn: conn, filters: f, mark: []byte(f.fingerprint())}
	if len(have) == b.count() && len(have) > 0 && !slices.ContainsFunc(have, func(r string) bool { return r != string(b.mark) }) {
		return nil
	}
	b.build()
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("set nftables table %s: %w", tableName, err)
	}
	return nil
}

func (s *space) nftables() (*nftables.Conn, error) {
	var opts []nftables.ConnOption
	if s.ns >= 0 {
		opts = append(opts, nftables.WithNetNSFd(int(s.ns)))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return conn, nil
}

// standingRules lists the marks of the rules in our table.
func standingRules(conn *nftables.Conn) ([]string, error) {
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	var marks []string
	for _, c := range chains {
		if c.Table.Name != tableName {
			continue
		}
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			return nil, fmt.Errorf("list nftables rules: %w", err)
		}
		for _, r := range rules {
			marks = append(marks, string(r.UserData))
		}
	}
	return marks, nil
}

// removeFilters removes the table; one that is not there, or a kernel without nftables, is no error.
func (n *Network) removeFilters() error {
	conn, err := n.space.nftables()
	if err != nil {
		return err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == tableName {
			conn.DelTable(t)
		}
	}
	if err := conn.Flush(); err != nil && !isGone(err) {
		return fmt.Errorf("remove nftables table %s: %w", tableName, err)
	}
	return nil
}

// builder writes the table.
type builder struct {
	filters
	conn  *nftables.Conn
	table *nftables.Table
	mark  []byte
	rules []*nftables.Rule
	sets  map[string]*nftables.Set
}

// count is how many rules the table has.
func (b *builder) count() int {
	dry := &builder{filters: b.filters, mark: b.mark, table: &nftables.Table{}, sets: map[string]*nftables.Set{}}
	dry.compose()
	return len(dry.rules)
}

// build asks for the whole table anew. Adding it first lets the deletion succeed whether it was there or not.
func (b *builder) build() {
	b.table = &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	b.sets = map[string]*nftables.Set{}
	b.conn.AddTable(b.table)
	b.conn.DelTable(b.table)
	b.table = b.conn.AddTable(b.table)
	b.compose()
	for _, r := range b.rules {
		b.conn.AddRule(r)
	}
}

// set makes a set of the prefixes of one family; nil when there are none.
func (b *builder) set(name string, prefixes []netip.Prefix, is4 bool) *nftables.Set {
	var elements []nftables.SetElement
	for _, p := range prefixes {
		if p.Addr().Is4() != is4 {
			continue
		}
		elements = append(elements, nftables.SetElement{Key: p.Addr().AsSlice()})
		if end := lastAddr(p).Next(); end.IsValid() { // none after the last address there is
			elements = append(elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	if len(elements) == 0 {
		return nil
	}
	// The library would count sets by a variable that all its users in a process share.
	set := &nftables.Set{Table: b.table, ID: uint32(len(b.sets) + 1), Name: name, Interval: true, KeyType: nftables.TypeIP6Addr}
	if is4 {
		set.KeyType = nftables.TypeIPAddr
	}
	if b.conn != nil {
		if err := b.conn.AddSet(set, elements); err != nil {
			return nil
		}
	}
	b.sets[name] = set
	return set
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func (b *builder) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
	c := &nftables.Chain{Name: name, Table: b.table, Type: kind, Hooknum: hook, Priority: &priority}
	if b.conn != nil {
		b.conn.AddChain(c)
	}
	return c
}

func (b *builder) add(chain *nftables.Chain, parts ...[]expr.Any) {
	b.rules = append(b.rules, &nftables.Rule{Table: b.table, Chain: chain, Exprs: slices.Concat(parts...), UserData: b.mark})
}
