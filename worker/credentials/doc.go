// Package credentials turns the pull secrets of a pod into what a registry is shown: it reads Docker's two forms of
// configuration and finds the entries that are for an image, as kubelets do.
//
// Invariants: what cannot be read is an error that quotes nothing of the secret; an entry is for a host, or a host and a
// path, and is never shown to another; the most specific entries come first. It is pure, and may import the types of the
// API and of the CRI, nothing of Petrel.
package credentials
