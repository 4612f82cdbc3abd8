package policy

import (
	"net/netip"
	"time"
)

// namesAge is how old the names that PodName answers from may be. They are made anew only while somebody asks.
const namesAge = time.Second

type podNames struct {
	of      map[netip.Addr]string
	changed uint64
	made    time.Time
}

// PodName names the pod that has an address, "namespace/name", or "". A pod that is younger than namesAge may be missing.
func (a *Agent) PodName(addr netip.Addr) string {
	names := a.names.Load()
	if names == nil || time.Since(names.made) > namesAge {
		names = a.renewNames(names)
	}
	return names.of[addr]
}

func (a *Agent) renewNames(old *podNames) *podNames {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := &podNames{changed: a.changed, made: time.Now()}
	if old != nil && old.changed == a.changed {
		fresh.of = old.of
	} else {
		fresh.of = a.compiler.PodNames()
	}
	a.names.Store(fresh)
	return fresh
}
