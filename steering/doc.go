// Package steering is how a process that has listening sockets tells another, which may steer connections, which addresses
// each of them is to get: one socket serves ten thousand addresses then. The steering process (Server) owns what steers;
// this package carries descriptors and words between the two, over a unix socket of sequenced packets.
//
// A client says with each request what is to be: listen at these addresses with the socket that comes along, or leave
// them. After it has connected it names all that there is and asks to settle, which ends what nobody named; so either side
// may be restarted at any time, and while one is away all goes on as it was.
//
// Invariants: one request is answered before the next is read; neither side keeps a descriptor that it was handed, so that a
// socket ends with the process that accepts from it; there is one client, the last that connected; only root and the
// server's own user may be one.
//
// It imports the standard library and the system's calls, and knows neither what steers nor what listens.
package steering
