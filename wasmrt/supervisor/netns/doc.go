// Package netns makes sockets in other network namespaces than the process's. A guest's process has no right to enter one;
// but a socket belongs to the namespace that it was made in, whoever uses it: so the supervisor makes them, and hands them
// over.
//
// Invariants: a thread that enters a namespace comes back, or ends; a descriptor that is handed over is not kept; what a
// client asks for is a stream or datagram socket of the internet families, and nothing else.
//
// It imports the standard library and the system's calls.
package netns
