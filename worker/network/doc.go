// Package network owns pod addresses and the way of packets to pods.
//
// In loopback mode an address is only a number: 127.0.0.0/8 is all local, so the runtime can listen on each without
// any set-up, and all there is to do is to give every pod one of its own.
//
// In cluster mode each node has prefixes of its own (spec.podCIDRs of its Node). The whole prefix is local to the node
// (AnyIP), which serves Wasm pods; a container's address is a more specific route into its veth. Other nodes' prefixes
// are routes: straight to a node on the same link, through VXLAN to one that is behind a router. What leaves the
// cluster is masqueraded; what goes from pod to pod never is.
//
// Invariants:
//   - An address has one owner at most; the same owner asking again gets the same address; a freed address rests until
//     every address that was never used has been, because clients may still hold connections to it.
//   - The kernel is the record of what was set up: routes carry a protocol number of our own, links a name and an alias
//     of our own, the nftables table a name and a fingerprint. Each turn lists what is ours, compares and mends; nothing
//     depends on having seen an event, and a turn that finds nothing amiss writes nothing.
//   - One part that fails (an unreachable node, a kernel without nftables) does not keep the others from being mended.
//   - Close leaves everything that running pods need. Remove leaves nothing, sysctls apart: they are as much the
//     machine's as ours.
//
// It is the only importer of netlink and nftables, and imports nothing of Kubernetes.
package network
