// Package runner is the process that runs one tenant's guests: it serves the control protocol to the supervisor, HTTP
// to the world at its pods' addresses, and nothing else.
//
// A container is made of a template (a compiled module, shared by all containers of its digest) and a workload: an HTTP
// guest has doors at its pod's address and takes an instance from a pool for each request; a command runs once, to its exit,
// and may be handed sockets to serve at meanwhile.
//
// Invariants: a container's state only moves forward, created → running → exited, and the exit is told as an event and
// kept until the container is removed, so that a supervisor that was away learns it; whoever dies here takes down the
// containers of this one namespace; the runner outlives the supervisor, and ends by itself only when it has neither
// containers nor a supervisor for a while. A container that nobody asks sleeps: it holds a socket (see package doors), or an
// entry in the table of the process's one socket where connections are steered (package front), and some small
// structures, no goroutine, server, handler, instance, log file or timer. Those come with the first connection
// and go when none was there for some seconds. News of a container are numbered, for they may overtake each other on the
// way to the supervisor.
//
// The cache of machine code is only read, and the process is confined (package confine) before anybody is let in.
//
// The collector runs with Go's defaults: guests' memories are mapped outside the Go heap, so the heap is small and a
// larger GOGC would only keep garbage. What a load leaves behind (60 MB for a Go module that had to be compiled) is given
// back to the kernel on purpose, two seconds after it, because an idle process would not collect it. GOGC, GOMEMLIMIT and
// GOMAXPROCS of the supervisor's environment are handed on.
//
// It imports the engine's rooms and the standard library: nothing of Kubernetes, gRPC or the CRI.
package runner
