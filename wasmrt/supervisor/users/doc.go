// Package users gives each namespace's runner a user id of its own, so that the kernel keeps tenants' processes and files
// apart where everything above it fails.
//
// Invariants: no two namespaces have the same id at a time; a namespace keeps its id from then on, over restarts too,
// because files on its volumes are owned by it; only when the range is used up is the id of a namespace that has no
// runner given to another, the longest known first.
//
// It imports nothing of the project.
package users
