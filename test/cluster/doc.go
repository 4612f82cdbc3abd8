// Package cluster runs Petrel's built binaries for the end-to-end tests and the benchmarks: it starts a cluster in a
// folder and on addresses of its own, tells where it listens, kills and restarts its processes, and proves at the end
// that none is left.
//
// Invariants: every process of a cluster runs a binary linked into that cluster's folder, so that /proc/PID/exe tells
// for certain which processes are ours to signal; no other is ever signalled. Two clusters at once, also of two test
// processes, never share pod or service addresses.
//
// It may import client-go and go-containerregistry, which are clients like any other, and of Petrel's rooms the lab, on
// which clusters of several nodes run.
package cluster
