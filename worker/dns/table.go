package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// target is where a named port is: on the host of that name below the Service, or on the Service itself.
type target struct {
	host  string
	port  uint16
	addrs []netip.Addr
}

// entry is a Service as it is looked up.
type entry struct {
	service Service
	addrs   []netip.Addr
	hosts   map[string][]netip.Addr // of endpoints, by hostname
	targets map[string][]target     // by portKey
}

func portKey(port, protocol string) string { return port + "/" + protocol }

func newEntry(s Service) *entry {
	e := &entry{service: s, addrs: s.ClusterIPs, targets: map[string][]target{}}
	for _, p := range s.Ports {
		key := portKey(p.Name, p.Protocol)
		e.targets[key] = append(e.targets[key], target{port: p.Port, addrs: s.ClusterIPs})
	}
	if len(s.Groups) == 0 {
		return e
	}
	e.hosts = map[string][]netip.Addr{}
	for _, g := range s.Groups {
		for _, ep := range g.Endpoints {
			e.addrs = append(e.addrs, ep.Addr)
			host := hostOf(ep)
			e.hosts[host] = append(e.hosts[host], ep.Addr)
		}
	}
	e.addrs = unique(e.addrs)
	for host, addrs := range e.hosts {
		e.hosts[host] = unique(addrs)
	}
	for _, g := range s.Groups {
		e.addTargets(g)
	}
	return e
}

// addTargets gives each named port of the group each of its hosts, once.
func (e *entry) addTargets(g Group) {
	for _, p := range g.Ports {
		key := portKey(p.Name, p.Protocol)
		seen := map[targetKey]bool{}
		for _, t := range e.targets[key] {
			seen[targetKey{t.host, t.port}] = true
		}
		for _, ep := range g.Endpoints {
			host := hostOf(ep)
			if id := (targetKey{host, p.Port}); !seen[id] {
				seen[id] = true
				e.targets[key] = append(e.targets[key], target{host: host, port: p.Port, addrs: e.hosts[host]})
			}
		}
	}
}

// targetKey tells targets apart.
type targetKey struct {
	host string
	port uint16
}

// hostOf names an endpoint below its Service: by its hostname or, without one, by its address.
func hostOf(e Endpoint) string {
	if e.Hostname != "" {
		return e.Hostname
	}
	return dashed(e.Addr)
}

// dashed writes an address as a label.
func dashed(a netip.Addr) string {
	if a.Is4() {
		return strings.ReplaceAll(a.String(), ".", "-")
	}
	return strings.ReplaceAll(a.StringExpanded(), ":", "-")
}

func unique(addrs []netip.Addr) []netip.Addr {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// pointer is one name of an address.
type pointer struct {
	service types.NamespacedName
	host    string // below the Service; empty for the Service itself
}

// table is what is answered from. Entries do not change once they are in it.
type table struct {
	mu         sync.RWMutex
	known      bool // there is a table at all
	entries    map[types.NamespacedName]*entry
	namespaces map[string]int // how many Services each has
	pointers   map[netip.Addr][]pointer
}

func newTable() *table {
	return &table{entries: map[types.NamespacedName]*entry{}, namespaces: map[string]int{}, pointers: map[netip.Addr][]pointer{}}
}

func (t *table) set(s Service) {
	e := newEntry(s)
	key := s.Key()
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.entries[key]; old != nil {
		t.unpoint(key, old)
	} else {
		t.namespaces[s.Namespace]++
	}
	t.entries[key] = e
	if s.Groups == nil {
		for _, a := range e.addrs {
			t.pointers[a] = append(t.pointers[a], pointer{service: key})
		}
		return
	}
	for host, addrs := range e.hosts {
		for _, a := range addrs {
			t.pointers[a] = append(t.pointers[a], pointer{service: key, host: host})
		}
	}
}

func (t *table) drop(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.entries[key]
	if old == nil {
		return
	}
	t.unpoint(key, old)
	delete(t.entries, key)
	if t.namespaces[key.Namespace]--; t.namespaces[key.Namespace] == 0 {
		delete(t.namespaces, key.Namespace)
	}
}

// unpoint is called with mu held.
func (t *table) unpoint(key types.NamespacedName, old *entry) {
	for _, a := range old.addrs {
		left := slices.DeleteFunc(slices.Clone(t.pointers[a]), func(p pointer) bool { return p.service == key })
		if len(left) == 0 {
			delete(t.pointers, a)
		} else {
			t.pointers[a] = left
		}
	}
}

func (t *table) setKnown() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = true
}

func (t *table) isKnown() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.known
}

func (t *table) service(namespace, name string) *entry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.entries[types.NamespacedName{Namespace: namespace, Name: name}]
}

func (t *table) hasNamespace(name string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.namespaces[name] > 0
}

// names are what an address is called.
func (t *table) names(a netip.Addr) []pointer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pointers[a]
}

func (t *table) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.entries)
}

// all are the Services, in order of their names.
func (t *table) all() []Service {
	t.mu.RLock()
	out := make([]Service, 0, len(t.entries))
	for _, e := range t.entries {
		out = append(out, e.service)
	}
	t.mu.RUnlock()
	slices.SortFunc(out, func(a, b Service) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	return out
}
