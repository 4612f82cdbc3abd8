// Package worker is the node's agent: it registers the machine as a Node, runs the pods that are bound to it through a
// container runtime, and tells the API how they are.
//
// A pod is one actor: a goroutine while there is something to do for it, nothing but memory while there is not. Its
// steps and its status come from the pure functions of worker/pod; this package only carries them out.
//
// Invariants:
//   - An API that is away stops no pod. What runs goes on, what crashes is restarted from the last known spec, and
//     statuses are told when the API is back. Specs are on disk, so that this also holds for a restarted worker.
//   - A worker that starts finds what runs by the runtime's labels and goes on with it: no pod is restarted for it.
//   - What the runtime holds and no pod accounts for is torn down only after the API's pods have been listed whole.
//   - Only the worker writes a pod's status; a pod leaves the API only after what it ran has ended.
//   - What only containers of processes need (users, profiles, control groups, a hosts file, files for last words) costs
//     pods of Wasm modules nothing.
//
// Not served, and said so to the pod: what podrules names for Wasm modules, user namespaces, volumes other than those of
// worker/volume. Service links (variables of each Service) are made for containers of processes only.
//
// It may import worker/cri, worker/dns, worker/network, worker/service, its own packages and client-go.
package worker
