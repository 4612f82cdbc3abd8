// Package doors waits at any number of listening sockets with one goroutine. A pod that nobody asks anything costs its
// socket and some hundred bytes here; the goroutine, the server and the handler that answering takes come with the first
// connection that knocks.
//
// Invariants: a door is watched or open, never both; a knock is told once, and then not again until the door is watched
// anew; connections that come while nobody accepts wait in the kernel, so opening, shutting and watching again lose none; a door has
// one descriptor, open or not.
//
// It imports the standard library and the kernel's interface.
package doors
