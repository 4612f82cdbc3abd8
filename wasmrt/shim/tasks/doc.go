// Package tasks is the task service that containerd asks of a shim, over a Wasm runtime that speaks the CRI.
//
// containerd has tasks, one for each sandbox and one for each container, and calls what it has of an image a bundle. The
// runtime has sandboxes and containers, with guests in them. A sandbox's task is no process: it is there from its creation until it is killed,
// or until the runtime has lost the sandbox. A container's task is the runtime's container.
//
// Invariants: a task's state only moves forward; it exits once, after what it printed was handed on; events of a task are
// told in the order create, start, exit, delete; a task that could not be made leaves nothing in the runtime; what the
// runtime no longer knows has exited with 137.
//
// It imports wasmrt/shim's bundle, output and events, containerd's API and the CRI's.
package tasks
