// Package supervisor serves the Container Runtime Interface for WebAssembly: sandboxes, containers and images to the
// CRI's client, and a fleet of runner processes, one for each namespace, underneath.
//
// It never touches a guest: modules are inspected and compiled by short-lived processes, and run by runners. What it
// knows is on disk, and what runs goes on without it; when it comes back it reads its records, adopts the runners, and
// asks them what happened.
//
// Invariants: identifiers are 64 hex digits, and any unambiguous begin of one will do; stopping and removing are
// idempotent; a name is taken from the call that makes a sandbox or container to the one that removes it; a container's
// state only moves forward; a container of a runner that died has exited with 137, and its sandbox is not ready; a
// subscriber to events gets each, in order, or loses its stream.
//
// Locks, in the order in which they are taken: sandbox.op or container.op (one operation on an object at a time),
// container.saving (one writer of its record), the broadcaster's mutex, Supervisor.mu (everything that is read by others; never held over I/O).
//
// It imports the runner's protocol, k8s.io/cri-api, k8s.io/cri-streaming and gRPC, and nothing else of Kubernetes.
package supervisor
