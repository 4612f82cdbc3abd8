// Command bench measures Petrel's built binaries and prints one line a row: name, value, bar, verdict. `make bench`
// runs it.
//
// Invariants: a value is a ratio to a peer or to a physical cost that the same run measured in turns with it; raw
// figures are notes. A bar is what is sensible from the physics, not what happens to be reached: a row that falls short
// says so, and the exit code is 1. A peer that cannot be had makes its row say "unavailable" and why, and counts as short.
//
// Load is wrk's. Peers are in baseline (plain net/http) and peer (workerd, from npm; wasmtime, a Go module of its own,
// with cgo); they are fetched when a row asks for them, at pinned versions, and kept below bin/.
//
// It may import client-go, etcd and wazero, the bare parts that Petrel's figures are divided by, and test/..., but no
// room of Petrel's.
package main
