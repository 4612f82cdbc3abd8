// Package api holds Petrel's own API types, petrel.run/v1alpha1: App and Revision.
//
// An App is what a user deploys: a WebAssembly module, its configuration, and how many pods serve it. A Revision is
// the immutable record of one version of that: what ran, under which limits, with which configuration. Deployments,
// Services and pods follow from them.
//
// Invariants: a Revision's spec never changes; versions of an App grow and are never used twice while the App
// lives; defaults and validation are pure functions, so the API server, the deploy API and tests agree.
//
// The types travel as JSON only. The package imports k8s.io/api and k8s.io/apimachinery and nothing else.
//
// +groupName=petrel.run
package api

//go:generate go run k8s.io/code-generator/cmd/deepcopy-gen@v0.37.2 --output-file zz_generated.deepcopy.go .
