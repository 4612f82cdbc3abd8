//go:build race

package http1

// direct is off under the race detector, which takes what goes through the net package for the order that it is.
const direct = false
