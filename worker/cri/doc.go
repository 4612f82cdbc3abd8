// Package cri is the worker's adapter to a container runtime: CRI v1 over gRPC on a unix socket, to any runtime that
// serves it (petrel-wasmrt, containerd).
//
// Invariants: a call ends by its named deadline, whatever the runtime does; a runtime that is away makes calls fail
// with an error that IsUnavailable knows and the connection comes back by itself; stopping or removing what is not
// there is no error. The adapter keeps no state about pods: what runs is what the runtime says.
//
// It may import gRPC and k8s.io/cri-api and nothing else of Petrel. Package critest holds the conformance suite that
// each runtime has to pass, package crifake a runtime in memory for tests.
package cri
