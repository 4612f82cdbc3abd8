// Package e2e proves the main job from outside: it drives the built petrel and petrel-wasmrt with the real kubectl,
// crane and curl, as a user would, and kills and restarts their processes.
//
// Invariants: most tests share one cluster, each in a namespace of its own, and run beside one another; a test that
// stops processes has a cluster of its own. Nothing is skipped: what a test needs is built first. No process of a
// cluster outlives the run, which is checked, not hoped. A failing test prints its namespace's pods, events and the end
// of the log.
//
// It may import the client libraries, go.etcd.io/etcd (as the external server of one test) and test/..., and no room of
// Petrel's.
package e2e
