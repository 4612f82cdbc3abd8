// Package contents takes modules out of containerd's content store: those of images that are Wasm artifacts, which have a
// module for a layer and no root file system.
//
// Invariants: a module is held to its digest; sizes are bounded, also those that a manifest only claims; nothing is left
// on disk.
//
// It imports containerd's API and gRPC.
package contents
