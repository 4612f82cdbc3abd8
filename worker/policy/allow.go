package policy

import "github.com/petrelrun/petrel/ebpfproxy"

// compileRules writes out which identities may, on which ports. The ports by name are those of p.
func compileRules(list []rule, p *pod, g groups) []ebpfproxy.PolicyRule {
	seen := map[ebpfproxy.PolicyRule]bool{}
	out := []ebpfproxy.PolicyRule{} // never nil: a subject that allows nothing is there
	add := func(r ebpfproxy.PolicyRule) {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	for _, r := range list {
		ports := r.portsOf(p)
		if r.everyone {
			for _, port := range ports {
				add(ruleFor(ebpfproxy.IdentityAny, port))
			}
			continue
		}
		for _, a := range r.peers {
			for id, number := range g[a] {
				for _, port := range ports {
					if a.port != (namedPort{}) {
						port.first, port.last = number, number
					}
					add(ruleFor(id, port))
				}
			}
		}
	}
	return out
}

// portsOf are the rule's ports in numbers. A name that p has no port of is none.
func (r rule) portsOf(p *pod) []portRange {
	if r.everyPort {
		return []portRange{{}}
	}
	ports := r.ports[:len(r.ports):len(r.ports)]
	for _, name := range r.named {
		if number := p.ports[name]; number != 0 {
			ports = append(ports, portRange{name.protocol, number, number})
		}
	}
	return ports
}

func ruleFor(id ebpfproxy.Identity, port portRange) ebpfproxy.PolicyRule {
	return ebpfproxy.PolicyRule{Identity: id, Protocol: port.protocol, First: port.first, Last: port.last}
}
