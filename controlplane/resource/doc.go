// Package resource is the table of what the API serves and the way every request on it goes, whoever asks: HTTP
// through apiserver, the scheduler and the controllers through Client and Informers, without HTTP.
//
// A Definition names a resource, its scope, names, verbs and subresources, and points to its Rules: Kubernetes' own
// (controlplane/upstream) or, for Petrel's kinds, those in own.go. Registry carries out the verbs: create, get,
// list, update, patch, apply, delete, watch, binding, eviction, scale and finalize.
//
// Invariants: every write is one guarded transaction on the revision that was read; a write that changes nothing
// keeps the resourceVersion; objects handed out by Informers and by entries of the store are shared and never
// changed; objects handed out by Client belong to the caller. Cluster IPs and node ports are claims in the store
// whose keys are the addresses, so that no two Services hold the same one, whichever server made them.
//
// It may import controlplane/store, upstream and api, and apimachinery, api and client-go.
package resource

//go:generate go run ./gendescriptions
