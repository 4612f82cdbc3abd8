// Package critest is the conformance suite that every container runtime under the worker has to pass, by areas: sandboxes,
// containers, idempotence, images, networks, logs, events, stats, and for containers that are processes also processes,
// mounts, security contexts and streams. It runs on the fake in crifake, on petrel-wasmrt (in cmd/petrel-wasmrt), on
// containerd 1.6 and 2.x, by which is checked that what it expects is what runtimes do, and on a runtime that
// PETREL_CRI_ENDPOINT, PETREL_CRI_TASK_IMAGE and PETREL_CRI_SERVER_IMAGE name.
//
// Where a runtime is known to differ its target says so, with the reason, and the test is skipped by that. It may import
// worker/cri, gRPC, the CRI and client-go's clients of streams.
package critest
