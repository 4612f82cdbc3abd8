// Package podrules says what of a pod's spec has no meaning for Wasm modules. The API refuses such pods where their
// RuntimeClass says what they are; a node refuses the rest in the same words, once it knows what their images are.
//
// Invariants: pure functions; what only restricts a process (users, dropped capabilities, filters, a read-only root) is
// never refused, because a guest has less than what is left of it.
//
// It may import Kubernetes' API types.
package podrules
