// Package containers holds the benchmarks that compare Wasm pods with pods of containers: petrel-wasmrt and containerd
// with runc, both driven through their CRI sockets in turns. There is nothing but tests in it: a containerd for a moment is
// what tests have. `make bench` runs them for the rows pods/rate-vs-container and pods/memory-vs-container.
package containers
