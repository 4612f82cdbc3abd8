// Package load asks HTTP servers for one thing as fast as they answer: a closed loop on each of a few kept-open
// connections.
//
// It is not net/http's client because that costs more than the servers that are measured, and both share the machine:
// the load would measure itself.
//
// It may import the standard library only.
package load
