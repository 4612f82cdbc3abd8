// Package probe runs the startup, readiness and liveness probes of containers, by HTTP, TCP, gRPC and commands, and the
// hooks of their starts and ends.
//
// Invariants: a container without probes costs nothing here; a probe that waits costs a timer and no goroutine; at most
// maxChecks checks run at a time on the machine; nothing is reported for a container after its Stop has returned;
// readiness and liveness wait for the startup probe.
//
// Commands are run by whoever makes the Actions. It may import Kubernetes' API types and gRPC's health client.
package probe
