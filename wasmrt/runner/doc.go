// Package runner is the process that runs one tenant's guests: it serves the control protocol to the supervisor, HTTP
// to the world at its pods' addresses, and nothing else.
//
// A container is made of a template (a compiled module, shared by all containers of its digest) and a workload: an HTTP
// guest has listeners and takes a fresh instance for each request; a command runs once, to its exit.
//
// Invariants: a container's state only moves forward, created → running → exited, and the exit is told as an event and
// kept until the container is removed, so that a supervisor that was away learns it; whoever dies here takes down the
// containers of this one namespace; the runner outlives the supervisor, and ends by itself only when it has neither
// containers nor a supervisor for a while. An idle container holds a listener, a goroutine for it and some small
// structures: no instance, no log file, no timer.
//
// It imports the engine's rooms and the standard library: nothing of Kubernetes, gRPC or the CRI.
package runner
