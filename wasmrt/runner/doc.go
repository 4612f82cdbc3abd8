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
// The collector runs with Go's defaults: guests' memories are mapped outside the Go heap, so the heap is small and a
// larger GOGC would only keep garbage. What a load leaves behind (60 MB for a Go module that had to be compiled) is given
// back to the kernel on purpose, two seconds after it, because an idle process would not collect it. GOGC, GOMEMLIMIT and
// GOMAXPROCS of the supervisor's environment are handed on.
//
// It imports the engine's rooms and the standard library: nothing of Kubernetes, gRPC or the CRI.
package runner
