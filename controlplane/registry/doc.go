// Package registry is the control plane's module store: an OCI distribution endpoint over a directory of OCI image
// layouts, one a repository, kept by olareg.
//
// Modules are OCI artifacts in the layout of the CNCF's Wasm working group: a config of type
// application/vnd.wasm.config.v0+json and one layer of type application/wasm. PutModule makes them; crane, oras and
// any other client push and pull over HTTP.
//
// Invariants: content is addressed by its digest, so the same module bytes give the same manifest digest, on every
// machine and every day; what was acknowledged is on disk (synced) before the acknowledgement; a blob or a manifest
// beyond the named limits is refused before it fills the disk.
//
// It may import olareg, go-containerregistry's types and the standard library, and nothing of Petrel or Kubernetes.
package registry
