package ebpfproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

const (
	bitsOf4in16 = 96 // that an IPv4 prefix grows by in its IPv6 form
	// Bits of an allow_key up to each field's end.
	allowIdentityBits = 64
	allowProtocolBits = 72
	peerRefuse        = 1
)

// policyMaps is a Policy as the kernel's maps hold it.
type policyMaps struct {
	peers     map[bpf.PolicyPeerKey]bpf.PolicyPeer
	endpoints map[bpf.PolicyAddr16]bpf.PolicyEndpoint
	allow     map[bpf.PolicyAllowKey]uint32
	isolated  uint32
}

func addr16Of(addr netip.Addr) bpf.PolicyAddr16 { return bpf.PolicyAddr16{Word: words(addr)} }

func peerKeyOf(p netip.Prefix) bpf.PolicyPeerKey {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += bitsOf4in16
	}
	return bpf.PolicyPeerKey{Prefixlen: uint32(bits), Addr: addr16Of(p.Addr())}
}

// mapsOf translates; base is added to the caller's numbers.
func mapsOf(p Policy, base uint32) policyMaps {
	rules := 0
	for _, list := range p.Subjects {
		rules += len(list)
	}
	out := policyMaps{
		peers:     make(map[bpf.PolicyPeerKey]bpf.PolicyPeer, len(p.Peers)),
		endpoints: make(map[bpf.PolicyAddr16]bpf.PolicyEndpoint, len(p.Endpoints)),
		allow:     make(map[bpf.PolicyAllowKey]uint32, rules),
	}
	for prefix, peer := range p.Peers {
		value := bpf.PolicyPeer{Identity: kernelIdentity(peer.Identity, base)}
		if peer.Refuse {
			value.Flags |= peerRefuse
		}
		out.peers[peerKeyOf(prefix)] = value
	}
	for subject, rules := range p.Subjects {
		for _, rule := range rules {
			addAllowed(out.allow, base+subject, base, rule)
		}
	}
	for addr, e := range p.Endpoints {
		if e == (Endpoint{}) {
			continue
		}
		value := bpf.PolicyEndpoint{}
		if e.Ingress != 0 {
			value.Ingress = base + e.Ingress
		}
		if e.Egress != 0 {
			value.Egress = base + e.Egress
		}
		out.endpoints[addr16Of(addr)] = value
	}
	out.isolated = uint32(len(out.endpoints))
	return out
}

func kernelIdentity(id Identity, base uint32) uint32 {
	if id <= IdentityHost {
		return uint32(id)
	}
	return base + uint32(id)
}

func addAllowed(allow map[bpf.PolicyAllowKey]uint32, subject, base uint32, rule PolicyRule) {
	key := bpf.PolicyAllowKey{Prefixlen: allowIdentityBits, Subject: subject, Identity: kernelIdentity(rule.Identity, base)}
	if rule.Protocol == 0 {
		allow[key] = 1
		return
	}
	key.Protocol = uint8(rule.Protocol)
	key.Prefixlen = allowProtocolBits
	if rule.Last == 0 {
		allow[key] = 1
		return
	}
	for _, p := range portPrefixes(rule.First, rule.Last) {
		key.Prefixlen = uint32(allowProtocolBits + p.bits)
		binary.BigEndian.PutUint16(key.Port[:], p.port)
		allow[key] = 1
	}
}

// Sync makes policy the one that is enforced. It is level-triggered: differences are found inside, an error leaves
// what fitted, and the next Sync does the rest.
//
// Rules are there before an address is of an identity that needs them, and identities before a pod is isolated: a
// connection that both the old and the new policy allow is allowed at each moment between them.
func (e *Enforcer) Sync(ctx context.Context, policy Policy) error {
	if err := policy.Validate(); err != nil {
		return fmt.Errorf("sync policy: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.collection == nil {
		return fmt.Errorf("sync policy: %w", ErrClosed)
	}
	want := mapsOf(policy, e.base)
	err := e.write(ctx, want)
	if full := (*FullError)(nil); errors.As(err, &full) {
		err = e.write(ctx, want) // what has gone may have made the room
	}
	if err != nil {
		return fmt.Errorf("sync policy: %w", err)
	}
	return nil
}

// write goes on where a table is full: a rule that is missing denies, a pod that is not isolated would be open.
func (e *Enforcer) write(ctx context.Context, want policyMaps) error {
	var full error
	for _, step := range []func() error{
		func() error { return e.allow.put(want.allow) },
		func() error { return e.peers.put(want.peers) },
		func() error { return e.setIsolated(max(want.isolated, uint32(len(e.endpoints.have)))) },
		func() error { return e.endpoints.put(want.endpoints) },
		func() error { e.synced = true; return e.hook(e.collection) }, // with everything there that the programs ask for
		func() error { return e.endpoints.drop(want.endpoints) },
		func() error { return e.setIsolated(want.isolated) },
		func() error { return e.hook(e.collection) },
		func() error { return e.peers.drop(want.peers) },
		func() error { return e.allow.drop(want.allow) },
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := step()
		if isFull := (*FullError)(nil); errors.As(err, &isFull) {
			full = errors.Join(full, err)
		} else if err != nil {
			return err
		}
	}
	return full
}

func (e *Enforcer) setIsolated(n uint32) error {
	if err := e.collection.Maps[mapPolicyConf].Put(uint32(0), bpf.PolicyPolicyConf{Isolated: n}); err != nil {
		return fmt.Errorf("write policy switch: %w", err)
	}
	return nil
}
