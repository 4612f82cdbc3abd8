// Package eviction keeps a node from running out of what all its pods share: memory, disk, inodes and process ids. Below a
// threshold it says so in the node's conditions, frees what nobody needs, and then ends pods one by one.
//
// Invariants:
//   - One pod ends at a time, and what its end gave back is looked at before another does.
//   - Those come first that take more than they asked for, of these the least important, of these the one that is the
//     furthest beyond; a pod that is critical to the node is never ended, nor one that takes nothing of what is short.
//   - Conditions that held go on for a while, lest the scheduler and this package play the same pods to each other.
//
// It imports Kubernetes' API types.
package eviction
