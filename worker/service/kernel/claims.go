package kernel

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/ebpfproxy"
)

// claims say which Service an address is of, and who else would have it.
type claims struct {
	owner   map[ebpfproxy.Frontend]types.NamespacedName
	waiting map[ebpfproxy.Frontend][]types.NamespacedName
	waits   map[types.NamespacedName][]ebpfproxy.Frontend // the same by Service
}

func newClaims() *claims {
	return &claims{
		owner:   map[ebpfproxy.Frontend]types.NamespacedName{},
		waiting: map[ebpfproxy.Frontend][]types.NamespacedName{},
		waits:   map[types.NamespacedName][]ebpfproxy.Frontend{},
	}
}

// claim gives the address to the Service unless another has it, whose name it answers then.
func (c *claims) claim(at ebpfproxy.Frontend, key types.NamespacedName) (types.NamespacedName, bool) {
	owner, owned := c.owner[at]
	if !owned || owner == key {
		c.owner[at] = key
		return key, true
	}
	c.waiting[at] = append(c.waiting[at], key)
	c.waits[key] = append(c.waits[key], at)
	return owner, false
}

// release takes the address from the Service and answers who waits for it.
func (c *claims) release(at ebpfproxy.Frontend, key types.NamespacedName) []types.NamespacedName {
	if c.owner[at] != key {
		return nil
	}
	delete(c.owner, at)
	return slices.Clone(c.waiting[at])
}

// forget strikes the Service from all lists of those who wait.
func (c *claims) forget(key types.NamespacedName) {
	for _, at := range c.waits[key] {
		c.waiting[at] = slices.DeleteFunc(c.waiting[at], func(k types.NamespacedName) bool { return k == key })
		if len(c.waiting[at]) == 0 {
			delete(c.waiting, at)
		}
	}
	delete(c.waits, key)
}
