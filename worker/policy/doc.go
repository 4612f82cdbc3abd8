// Package policy compiles NetworkPolicies, pods and namespaces into the rules that ebpfproxy enforces on this node, and
// follows the API to keep them current.
//
// Invariants:
//   - Compiler does no I/O: the same objects give the same rules, in whatever order they came. Only the numbers of
//     groups differ, and none is used a second time.
//   - A peer that no policy of a local pod names has no entry, so that the size of what a node holds is given by what
//     runs on it and not by the cluster.
//   - Nothing is written to the kernel before every kind of object is known whole, and an API that is away changes
//     nothing: what was enforced last stays.
//   - Pods on the host's network are the node's: no policy selects them or names them.
//
// It may import client-go, Prometheus, ebpfproxy for its values, and worker/service/feed.
package policy
