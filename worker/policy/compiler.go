package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// Compiler keeps the objects that rules are made of. It is not safe for concurrent use.
type Compiler struct {
	cfg        CompilerConfig
	namespaces map[string]labels.Set
	pods       map[types.NamespacedName]*pod
	assigned   map[types.NamespacedName][]netip.Addr
	policies   map[string]map[string]*policy // by namespace and name

	serial uint64 // of the last atom or policy
	atoms  map[string]*atomUse
	active map[*atom]bool // those that policies of local pods name, as pods' members know them

	identities numbers
	subjects   numbers
}

type atomUse struct {
	*atom
	uses int
}

// NewCompiler makes a compiler without objects.
func NewCompiler(cfg CompilerConfig) (*Compiler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("new policy compiler: %w", err)
	}
	return &Compiler{
		cfg:        cfg,
		namespaces: map[string]labels.Set{},
		pods:       map[types.NamespacedName]*pod{},
		assigned:   map[types.NamespacedName][]netip.Addr{},
		policies:   map[string]map[string]*policy{},
		atoms:      map[string]*atomUse{},
		active:     map[*atom]bool{},
		identities: newNumbers(uint32(ebpfproxy.IdentityHost)),
		subjects:   newNumbers(0),
	}, nil
}

// SetHosts replaces the addresses of this node, and reports whether that changes anything here.
func (c *Compiler) SetHosts(hosts []netip.Prefix) (bool, error) {
	cfg := c.cfg
	cfg.Hosts = slices.Clone(hosts)
	if err := cfg.Validate(); err != nil {
		return false, fmt.Errorf("set hosts: %w", err)
	}
	changed := !slices.Equal(c.cfg.Hosts, hosts)
	c.cfg = cfg
	return changed, nil
}

// SetNamespace adds or changes a namespace and reports whether that changes anything here.
func (c *Compiler) SetNamespace(ns *corev1.Namespace) bool {
	old, known := c.namespaces[ns.Name]
	if known && maps.Equal(old, ns.Labels) {
		return false
	}
	c.namespaces[ns.Name] = maps.Clone(ns.Labels)
	c.stalePods(ns.Name)
	return true
}

// RemoveNamespace forgets a namespace.
func (c *Compiler) RemoveNamespace(name string) {
	delete(c.namespaces, name)
	c.stalePods(name)
}

func (c *Compiler) stalePods(namespace string) {
	for _, p := range c.pods {
		if p.name.Namespace == namespace {
			p.stale = true
		}
	}
}

// SetPod adds or changes a pod and reports whether that changes anything here.
func (c *Compiler) SetPod(p *corev1.Pod) bool {
	name := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	old := c.pods[name]
	fresh := newPod(p, c.cfg.NodeName, c.assigned[name])
	if fresh == nil {
		delete(c.pods, name)
		return old != nil
	}
	if old != nil && old.local == fresh.local && maps.Equal(old.labels, fresh.labels) &&
		slices.Equal(old.addrs, fresh.addrs) && maps.Equal(old.ports, fresh.ports) {
		return false
	}
	fresh.labels = maps.Clone(fresh.labels)
	c.pods[name] = fresh
	return true
}

// RemovePod forgets a pod, and what was assigned to it.
func (c *Compiler) RemovePod(name types.NamespacedName) {
	delete(c.pods, name)
	delete(c.assigned, name)
}

// Assign says what addresses a local pod has before the API knows: they count instead of its status from the next
// SetPod on.
func (c *Compiler) Assign(name types.NamespacedName, addrs []netip.Addr) {
	c.assigned[name] = slices.Clone(addrs)
}

// SetPolicy adds or changes a policy. One that cannot be read leaves what was there under its name.
func (c *Compiler) SetPolicy(p *networkingv1.NetworkPolicy) error {
	parsed, err := parsePolicy(p)
	if err != nil {
		return fmt.Errorf("policy %s/%s: %w", p.Namespace, p.Name, err)
	}
	c.serial++
	parsed.version = c.serial
	for _, direction := range []*rules{parsed.ingress, parsed.egress} {
		if direction == nil {
			continue
		}
		for i := range direction.list {
			for j, a := range direction.list[i].peers {
				direction.list[i].peers[j] = c.take(a)
			}
		}
	}
	c.RemovePolicy(parsed.name)
	if c.policies[p.Namespace] == nil {
		c.policies[p.Namespace] = map[string]*policy{}
	}
	c.policies[p.Namespace][p.Name] = parsed
	c.stalePods(p.Namespace)
	return nil
}

// RemovePolicy forgets a policy.
func (c *Compiler) RemovePolicy(name types.NamespacedName) {
	old := c.policies[name.Namespace][name.Name]
	if old == nil {
		return
	}
	delete(c.policies[name.Namespace], name.Name)
	if len(c.policies[name.Namespace]) == 0 {
		delete(c.policies, name.Namespace)
	}
	old.atoms(c.give)
	c.stalePods(name.Namespace)
}

// take answers the one atom that equals a.
func (c *Compiler) take(a *atom) *atom {
	use := c.atoms[a.key]
	if use == nil {
		c.serial++
		a.serial = c.serial
		use = &atomUse{atom: a}
		c.atoms[a.key] = use
	}
	use.uses++
	return use.atom
}

func (c *Compiler) give(a *atom) {
	use := c.atoms[a.key]
	if use.uses--; use.uses == 0 {
		delete(c.atoms, a.key)
	}
}

// hasPolicies: there are any, whomever they select.
func (c *Compiler) hasPolicies() bool { return len(c.policies) > 0 }

// policyNamespaces are those that have policies, in order.
func (c *Compiler) policyNamespaces() []string { return slices.Sorted(maps.Keys(c.policies)) }

// selects reports whether a policy selects the pod.
func (c *Compiler) selects(p *corev1.Pod) bool {
	for _, candidate := range c.policies[p.Namespace] {
		if candidate.selects.Matches(labels.Set(p.Labels)) {
			return true
		}
	}
	return false
}

// PodNames are "namespace/name" by address.
func (c *Compiler) PodNames() map[netip.Addr]string {
	holders := c.holders()
	out := make(map[netip.Addr]string, len(holders))
	for addr, p := range holders {
		out[addr] = p.full
	}
	return out
}

// numbers gives each key a number of its own. What a key was given stays as long as the key is used each time.
type numbers struct {
	last uint32
	of   map[string]uint32
	used map[string]uint32
}

func newNumbers(last uint32) numbers {
	return numbers{last: last, of: map[string]uint32{}, used: map[string]uint32{}}
}

func (n *numbers) number(key string) uint32 {
	if id, ok := n.used[key]; ok {
		return id
	}
	id, ok := n.of[key]
	if !ok {
		n.last++
		id = n.last
	}
	n.used[key] = id
	return id
}

// turn forgets the keys that were not used since the last turn.
func (n *numbers) turn() {
	n.of, n.used = n.used, make(map[string]uint32, len(n.used))
}
