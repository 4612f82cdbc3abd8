// Package upstream is the one room that imports k8s.io/kubernetes. It lends Kubernetes' own defaulting, strategies
// (preparation, validation, warnings), graceful deletion and printers to the rooms above, behind types of ours that
// take and give versioned objects (k8s.io/api), and carries Kubernetes' OpenAPI documents, cut to what is served.
//
// Invariants: an internal object never leaves this package; an object given to Create or Update belongs to it from
// then on, because conversion shares memory; a call converts each object once in each direction.
//
// One rule of upstream's is bent on purpose, where a call asks for it: an EndpointSlice may carry loopback addresses,
// because in loopback mode pods live in 127.42.0.0/16 (see endpoints.go).
//
// It may import k8s.io/kubernetes, k8s.io/apiserver, apimachinery and api; nothing of Petrel's.
package upstream

//go:generate go run ./genopenapi
