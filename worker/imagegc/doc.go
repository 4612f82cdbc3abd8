// Package imagegc removes images, of containers and Wasm modules alike, that no pod of the node uses: when their disk
// fills up, when they have lain unused for longer than they may, or when the node is out of disk and asks for all it can have.
//
// Invariants: an image is never removed that a container or a pod of the node has, that its runtime has pinned, or that
// the node is told to keep; where it is not known what is in use, nothing is removed. An image that is gone is pulled again
// by the next pod that needs it.
//
// It may import worker/cri for what its errors mean, worker/stats for the size of disks, and the CRI's types.
package imagegc
