// Package backend keeps the Wasm runtime running that a shim's tasks are in, and tells what happens there.
//
// The runtime is a process of its own, which outlives the shim's daemon as its runners outlive it. Whoever needs it and finds it
// gone starts it; several daemons may use one.
//
// Invariants: a runtime that was killed is started again and asked for everything that was missed; it is ended only by
// whoever finds it without sandboxes; calls made while it is away wait for it until their context ends.
//
// It imports the CRI's types and gRPC.
package backend
