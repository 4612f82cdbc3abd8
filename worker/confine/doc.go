// Package confine turns what a pod's spec says of its containers' confinement into what a CRI runtime is told: users,
// capabilities, profiles, namespaces, sysctls and resources; and it keeps the control groups that hold pods as wholes.
//
// Invariants: the functions are pure; what a spec asks for and cannot be given is an error in plain words, never left
// out in silence; Groups touches nothing outside of its own base in the hierarchies.
//
// It is for containers of processes: a Wasm guest has none of all this. It may import Kubernetes' API types and the
// CRI's.
package confine
