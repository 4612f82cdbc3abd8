// Package control is the protocol between the supervisor and a runner: frames of JSON on a unix socket.
//
// A frame is a length of four bytes, big-endian, and that many bytes of JSON. The runner speaks first (Hello); then
// requests go one way, and responses and events come back, in any order, matched by id. One connection carries all, so
// that its end tells the supervisor at once that the runner is gone.
//
// Invariants: no frame is longer than MaxFrame; a request has exactly one response; events arrive in the order in
// which they happened, and a peer that does not read them loses its connection rather than an event, so that after
// connecting again it lists and misses nothing.
//
// Descriptors may travel with a request or a response: the frame says how many, and they come with its first bytes.
//
// It imports the standard library and the system's calls.
package control
