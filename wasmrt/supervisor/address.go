package supervisor

import (
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

// annotationPodIP carries the address that the client gives a sandbox, or one of each family with a comma between.
const annotationPodIP = "petrel.run/pod-ip"

// addresses says which sandbox has which address. The supervisor's mutex guards it.
type addresses struct {
	cidr  netip.Prefix
	next  netip.Addr // where the search for a free one goes on
	taken map[netip.Addr]string
}

func newAddresses(cidr netip.Prefix) *addresses {
	return &addresses{cidr: cidr.Masked(), taken: map[netip.Addr]string{}}
}

// setCIDR changes where free addresses come from. Those given stay.
func (a *addresses) setCIDR(cidr netip.Prefix) {
	if cidr = cidr.Masked(); cidr != a.cidr {
		a.cidr, a.next = cidr, netip.Addr{}
	}
}

// take gives the sandbox the wanted addresses, all or none, or a free one when want is empty. The answer is written as
// want is.
func (a *addresses) take(want, id string) (string, error) {
	if want == "" {
		addr, err := a.free()
		if err != nil {
			return "", err
		}
		a.taken[addr] = id
		return addr.String(), nil
	}
	addrs, err := control.ParseAddresses(want)
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "annotation %s: %v", annotationPodIP, err)
	}
	for _, addr := range addrs {
		if holder := a.taken[addr]; holder != "" && holder != id {
			return "", status.Errorf(codes.FailedPrecondition, "address %s belongs to sandbox %s", addr, holder)
		}
	}
	var words []string
	for _, addr := range addrs {
		a.taken[addr] = id
		words = append(words, addr.String())
	}
	return strings.Join(words, ","), nil
}

// free finds an address that no sandbox has. Addresses are used in turn, so that one that was just given back is not
// given to another pod while somebody still means the former.
func (a *addresses) free() (netip.Addr, error) {
	first := a.cidr.Addr().Next() // the network's own address is nobody's
	addr := a.next
	if !addr.IsValid() || !a.cidr.Contains(addr) {
		addr = first
	}
	for start := addr; ; {
		next := addr.Next()
		if !a.cidr.Contains(next) { // the last one is for broadcasts
			next = first
		} else if a.taken[addr] == "" {
			a.next = next
			return addr, nil
		}
		if addr = next; addr == start {
			return netip.Addr{}, status.Error(codes.ResourceExhausted, fmt.Sprintf("no address of %s is free", a.cidr))
		}
	}
}

// release gives back what the sandbox has.
func (a *addresses) release(address, id string) {
	addrs, err := control.ParseAddresses(address)
	if err != nil {
		return // it has none
	}
	for _, addr := range addrs {
		if a.taken[addr] == id {
			delete(a.taken, addr)
		}
	}
}
