//go:build !race

package http1

// direct says whether a Socket calls the kernel itself.
const direct = true
