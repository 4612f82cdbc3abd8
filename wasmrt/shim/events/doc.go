// Package events tells containerd what happens to tasks.
//
// Invariants: events of a publisher arrive in the order of their calls; publishing never blocks: what containerd does not take for
// long, or what is too much, is dropped and logged, for containerd asks for states when it comes back.
//
// It imports containerd's API and ttrpc.
package events
