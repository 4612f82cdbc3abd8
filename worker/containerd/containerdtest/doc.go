// Package containerdtest starts a containerd for a test: its own network namespace, directories, sockets and control
// group, made by package containerd as a worker makes its own, and all gone when the test ends, which fails where
// anything is left.
//
// Debian's version is the default; PETREL_CONTAINERD names another program, and V2 builds the current 2.x. Images come
// from here too: no registry is asked for anything.
//
// A test that cannot have one as root fails; elsewhere it is skipped by name. Nothing but tests may import this package.
package containerdtest
