// Package csitest is a CSI driver for tests: a volume is a directory, staged and published by bind mounts. It registers
// itself as drivers do, by a socket in a registration directory. Nothing but tests may import it.
package csitest
