// Package scheduler gives each pending pod a node.
//
// What decides is pure: Place takes a pod and an immutable Snapshot of the nodes, keeps those that pass every Filter,
// takes the one with the highest Score, and, when none passes, tells why for each. Everything around it is state
// machines without goroutines (Queue, the cluster cache; time is passed in) and one loop that drives them.
//
// Invariants:
//   - Equal inputs give equal decisions: ties are ended by name.
//   - A pod that was given a node counts on it from that moment, while the bind is still under way; a bind that fails
//     gives the room back.
//   - A snapshot shares every node that did not change with the one before.
//   - A pod that fits nowhere waits until something happened on a node that it would then fit, or until it is flushed;
//     what happens during its attempt is not missed.
//   - Pods of another schedulerName are never touched.
//
// A new Filter or Score is one more entry in filters or scores.
//
// The package may import controlplane/api, k8s.io/api, k8s.io/apimachinery, k8s.io/client-go,
// k8s.io/component-helpers, k8s.io/utils and golang.org/x.
package scheduler
