// Package probe runs the startup, readiness and liveness probes of containers, by HTTP and TCP.
//
// Invariants: a container without probes costs nothing here; a probe that waits costs a timer and no goroutine; at most
// maxChecks checks run at a time on the machine; nothing is reported for a container after its Stop has returned;
// readiness and liveness wait for the startup probe.
//
// Wasm guests have no processes to execute and no gRPC health service of the node's: Unsupported names such probes
// before the container is started. It may import Kubernetes' API types.
package probe
