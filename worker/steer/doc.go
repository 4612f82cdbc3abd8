// Package steer has the kernel hand connections for Wasm pods' addresses to the few sockets that the runtime listens at: it
// joins the protocol by which the runtime says which (room steering) with the program that does it (ebpfproxy).
//
// It does so only where the program outlives the worker: else a worker that restarts would take all pods off the network.
// Where it does not, the runtime is told so, and its pods listen for themselves.
//
// Invariants: what is steered changes by what the runtime says and for no other reason; the worker's end leaves it as it is.
//
// It may import ebpfproxy and steering.
package steer
