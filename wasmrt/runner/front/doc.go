// Package front is the one listening socket that a process has for all its pods, one a family: what steers connections in
// the kernel hands it those for each pod's address, and they are handed on by the address that the client asked for.
// Ten thousand pods are ten thousand entries of a table, and no socket each.
//
// The socket itself is bound to a loopback address that nobody is told: who finds it asks for no pod's address, and is
// hung up on.
//
// Invariants: an address has one server; a connection is either admitted by the server of its address or reset; what is
// slow is the server's to do elsewhere, for one goroutine accepts for all.
//
// It imports the standard library and the system's calls.
package front
