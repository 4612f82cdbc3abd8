package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// Compile answers the rules for what is known now. It finds anew only what the changes since the last call concern.
func (c *Compiler) Compile() ebpfproxy.Policy {
	c.selectPolicies()
	c.updateMembers()
	out := ebpfproxy.Policy{
		Peers:     map[netip.Prefix]ebpfproxy.Peer{},
		Endpoints: map[netip.Addr]ebpfproxy.Endpoint{},
		Subjects:  map[uint32][]ebpfproxy.PolicyRule{},
	}
	groups := c.compilePeers(out.Peers)
	for _, p := range c.pods {
		if p.local && len(p.selected) > 0 {
			e := c.compileEndpoint(p, groups, out.Subjects)
			for _, addr := range p.addrs {
				out.Endpoints[addr] = e
			}
		}
	}
	c.identities.turn()
	c.subjects.turn()
	return out
}

// selectPolicies finds which policies select the local pods that changed, or whose policies did.
func (c *Compiler) selectPolicies() {
	for _, p := range c.pods {
		if !p.local || !p.stale {
			continue
		}
		p.selected = nil
		for _, candidate := range c.policies[p.name.Namespace] {
			if candidate.selects.Matches(p.labels) {
				p.selected = append(p.selected, candidate)
			}
		}
		slices.SortFunc(p.selected, func(a, b *policy) int { return cmp.Compare(a.version, b.version) })
	}
}

// updateMembers brings what is known of each pod to the atoms that policies of local pods name.
func (c *Compiler) updateMembers() {
	wanted := map[*atom]bool{}
	seen := map[*policy]bool{}
	for _, p := range c.pods {
		for _, selected := range p.selected {
			if !seen[selected] {
				seen[selected] = true
				selected.atoms(func(a *atom) { wanted[a] = true })
			}
		}
	}
	var added []*atom
	for a := range wanted {
		if !c.active[a] {
			added = append(added, a)
		}
	}
	removed := len(c.active)+len(added) > len(wanted)
	c.active = wanted
	for _, p := range c.pods {
		if p.stale {
			p.members = nil
			for a := range wanted {
				c.join(p, a)
			}
			p.stale = false
			continue
		}
		if removed {
			p.members = slices.DeleteFunc(p.members, func(m member) bool { return !wanted[m.atom] })
		}
		for _, a := range added {
			c.join(p, a)
		}
	}
}

func (c *Compiler) join(p *pod, a *atom) {
	if a.isBlock() {
		return // by address, later
	}
	if m, ok := a.memberOf(p, c.namespaces[p.name.Namespace]); ok {
		p.members = append(p.members, m)
	}
}

// groups tells which identities are of an atom, and under which number each has the atom's port.
type groups map[*atom]map[ebpfproxy.Identity]uint16

func (g groups) add(members []member, id ebpfproxy.Identity) {
	for _, m := range members {
		if g[m.atom] == nil {
			g[m.atom] = map[ebpfproxy.Identity]uint16{}
		}
		g[m.atom][id] = m.port
	}
}

// compilePeers writes who has which address. A pod gets an entry of its own only where the prefixes around it would
// say something else.
func (c *Compiler) compilePeers(peers map[netip.Prefix]ebpfproxy.Peer) groups {
	g := groups{}
	var blocks []*atom
	for a := range c.active {
		if a.isBlock() {
			blocks = append(blocks, a)
		}
	}
	identify := func(members []member) ebpfproxy.Identity {
		if len(members) == 0 {
			return ebpfproxy.IdentityAny
		}
		id := ebpfproxy.Identity(c.identities.number(classKey(members)))
		g.add(members, id)
		return id
	}
	for prefix := range c.prefixes(blocks) {
		if c.cfg.isHost(prefix) {
			peers[prefix] = ebpfproxy.Peer{Identity: ebpfproxy.IdentityHost}
			continue
		}
		peers[prefix] = ebpfproxy.Peer{Identity: identify(inBlocks(nil, blocks, nil, prefix)), Refuse: true}
	}
	for addr, p := range c.holders() {
		prefix := hostPrefix(addr)
		members := inBlocks(slices.Clone(p.members), blocks, p, prefix)
		// A block with a port by name is a matter of the pod, not of the prefix.
		own := len(p.members) > 0 || slices.ContainsFunc(members, func(m member) bool { return m.port != 0 })
		if own || c.cfg.isHost(prefix) {
			peers[prefix] = ebpfproxy.Peer{Identity: identify(members), Refuse: true}
		}
	}
	return g
}

// inBlocks adds the blocks that hold everything of the prefix. Only pods have ports by name.
func inBlocks(members []member, blocks []*atom, p *pod, prefix netip.Prefix) []member {
	for _, a := range blocks {
		if !a.holds(prefix) {
			continue
		}
		if p != nil {
			if m, ok := a.withNumber(p); ok {
				members = append(members, m)
			}
		} else if a.port == (namedPort{}) {
			members = append(members, member{atom: a})
		}
	}
	return members
}

// Who has no entry at all cannot be refused at once.
var everywhere4, everywhere6 = netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")

// prefixes are all at whose edges the answer to "who is that?" may change, pods apart.
func (c *Compiler) prefixes(blocks []*atom) map[netip.Prefix]bool {
	out := map[netip.Prefix]bool{everywhere4: true, everywhere6: true}
	for _, list := range [][]netip.Prefix{c.cfg.Hosts, c.cfg.PodCIDRs} {
		for _, p := range list {
			out[p] = true
		}
	}
	for _, a := range blocks {
		out[a.block] = true
		for _, p := range a.except {
			out[p] = true
		}
	}
	return out
}

// holders answers which pod has an address. Where two claim one, as when a pod is gone and the API does not know yet,
// the local one has it: the worker does not give an address twice.
func (c *Compiler) holders() map[netip.Addr]*pod {
	out := make(map[netip.Addr]*pod, len(c.pods))
	for _, p := range c.pods {
		for _, addr := range p.addrs {
			other := out[addr]
			if other == nil || p.local && !other.local ||
				p.local == other.local && p.full > other.full {
				out[addr] = p
			}
		}
	}
	return out
}

// compileEndpoint names the sets of rules of a local pod, and writes those that are not there yet.
func (c *Compiler) compileEndpoint(p *pod, g groups, subjects map[uint32][]ebpfproxy.PolicyRule) ebpfproxy.Endpoint {
	return ebpfproxy.Endpoint{
		Ingress: c.compileSubject(p, "in", func(q *policy) *rules { return q.ingress }, g, subjects),
		Egress:  c.compileSubject(p, "out", func(q *policy) *rules { return q.egress }, g, subjects),
	}
}

// compileSubject answers the number of the rules that the pod's policies have for a direction; pods with the same
// policies, and the same numbers for the ports that these name, share it. 0: no policy isolates the pod there.
func (c *Compiler) compileSubject(p *pod, direction string, of func(*policy) *rules, g groups, subjects map[uint32][]ebpfproxy.PolicyRule) uint32 {
	var all []rule
	key := strings.Builder{}
	key.WriteString(direction)
	isolated := false
	for _, selected := range p.selected {
		if list := of(selected); list != nil {
			isolated = true
			all = append(all, list.list...)
			fmt.Fprintf(&key, " %d", selected.version)
		}
	}
	if !isolated {
		return 0
	}
	for _, r := range all {
		for _, name := range r.named {
			fmt.Fprintf(&key, " %s/%d=%d", name.name, name.protocol, p.ports[name])
		}
	}
	id := c.subjects.number(key.String())
	if _, done := subjects[id]; !done {
		subjects[id] = compileRules(all, p, g)
	}
	return id
}
