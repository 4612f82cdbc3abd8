package ebpfproxy

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

func (t *tables) deleteRange(svc uint32, r netip.Prefix) error {
	if err := t.srcrange.Delete(rangeKey(svc, r)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("remove source range %s: %w", r, err)
	}
	t.ranges--
	return nil
}

// containsRange compares ranges by what they contain.
func containsRange(list []netip.Prefix, r netip.Prefix) bool {
	for _, l := range list {
		if l.Masked() == r {
			return true
		}
	}
	return false
}
