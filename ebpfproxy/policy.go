package ebpfproxy

import (
	"errors"
	"fmt"
	"net/netip"
)

// Identity is the number of a group of addresses that no policy tells apart. The caller chooses numbers above
// IdentityHost; a number that was given up should not mean another group soon after.
type Identity uint32

const (
	// IdentityAny is whom no entry of Policy.Peers names. A rule for it is a rule for everyone.
	IdentityAny Identity = 0
	// IdentityHost is this node: it reaches each of its pods and each pod reaches it, whatever policies say.
	IdentityHost Identity = 1
)

// Peer is who has the addresses of a prefix.
type Peer struct {
	Identity Identity
	// Refuse says that a connect() which a policy denies fails at once, where the socket is bound to its pod's address,
	// rather than run into its timeout. A service's address is never refused: its backends are judged.
	Refuse bool
}

// PolicyRule allows something.
type PolicyRule struct {
	Identity Identity // the other side; IdentityAny: everyone
	Protocol Protocol // 0: every protocol, then of every port
	// The ports First to Last of the side that is connected to; 0 to 0: every port.
	First, Last uint16
}

// Endpoint names the sets of rules that hold for one local pod. 0: no policy isolates that direction.
type Endpoint struct{ Ingress, Egress uint32 }

// Policy is everything that an Enforcer enforces. What is not allowed to or from an isolated pod is denied.
type Policy struct {
	Peers     map[netip.Prefix]Peer // the longest prefix decides
	Endpoints map[netip.Addr]Endpoint
	Subjects  map[uint32][]PolicyRule // by the numbers in Endpoints; one without rules allows nothing
}

// maxNumber leaves room above the caller's numbers for those that an earlier process left in pinned maps.
const maxNumber = 1 << 31

// Validate says what of the policy makes no sense.
func (p Policy) Validate() error {
	var errs []error
	for prefix, peer := range p.Peers {
		if !prefix.IsValid() || prefix.Addr().Is4In6() || prefix.Addr().Zone() != "" || prefix != prefix.Masked() {
			errs = append(errs, fmt.Errorf("peer %s: want a masked prefix", prefix))
		}
		if peer.Identity >= maxNumber {
			errs = append(errs, fmt.Errorf("peer %s: identity %d: want less than %d", prefix, peer.Identity, maxNumber))
		}
	}
	for addr, e := range p.Endpoints {
		if !addr.IsValid() || addr.Is4In6() || addr.Zone() != "" {
			errs = append(errs, fmt.Errorf("endpoint %s: want an address", addr))
		}
		for _, subject := range []uint32{e.Ingress, e.Egress} {
			if _, ok := p.Subjects[subject]; !ok && subject != 0 {
				errs = append(errs, fmt.Errorf("endpoint %s: there is no subject %d", addr, subject))
			}
		}
	}
	for subject, rules := range p.Subjects {
		if subject == 0 || subject >= maxNumber {
			errs = append(errs, fmt.Errorf("subject %d: want a number from 1 to %d", subject, maxNumber-1))
		}
		for _, r := range rules {
			if err := r.validate(); err != nil {
				errs = append(errs, fmt.Errorf("subject %d: %w", subject, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (r PolicyRule) validate() error {
	switch {
	case r.Identity >= maxNumber:
		return fmt.Errorf("identity %d: want less than %d", r.Identity, maxNumber)
	case r.First > r.Last, r.First == 0 && r.Last != 0:
		return fmt.Errorf("ports %d to %d: want a range from 1 to 65535, or 0 to 0", r.First, r.Last)
	case r.Protocol == 0 && r.Last != 0:
		return errors.New("ports without a protocol")
	}
	return nil
}

// VerdictCounts are counted since the maps were made, for isolated pods alone but for Forged.
type VerdictCounts struct {
	Allowed   uint64 // connections and first datagrams
	Denied    uint64 // packets dropped
	Replies   uint64 // datagrams that passed as an answer
	Refused   uint64 // connect() calls that failed at once
	Untracked uint64 // datagrams that passed although their answers may not: there was no memory to note them
	Forged    uint64 // packets dropped that a pod sent from an address that it does not have
}

// PolicyStats are the counters of an Enforcer.
type PolicyStats struct{ Ingress, Egress VerdictCounts }
