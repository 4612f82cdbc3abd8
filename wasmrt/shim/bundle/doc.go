// Package bundle reads what containerd hands a shim for a container: the OCI bundle's configuration, and the module in
// its root file system.
//
// Of the configuration it reads what has a meaning for a guest: arguments, environment, mounts, the memory limit, the
// annotations of containerd's CRI, and the network namespace. What restricts a process (capabilities, seccomp, user,
// devices) is read over: a guest has none of it anyway.
//
// Invariants: the root file system is an image's, so nothing in it is believed: paths are resolved inside of it by the
// kernel, and only regular files that begin as a module does are modules; sizes are bounded.
//
// It imports golang.org/x/sys and the CRI's types.
package bundle
