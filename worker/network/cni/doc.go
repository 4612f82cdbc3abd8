// Package cni lets a container runtime attach its containers to the pod network by the Container Network Interface,
// versions 1.0 and 1.1.
//
// The plugin that the runtime executes is the program itself under another name (package plugin). It hands its calls to
// the server here by a unix socket, so that the worker owns the addresses.
//
// Invariants: ADD either attaches a container or leaves nothing; DEL of what is not there succeeds; the socket is for root
// alone.
//
// It may import worker/network, and imports nothing of Kubernetes.
package cni
