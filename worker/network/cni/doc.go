// Package cni lets a container runtime attach its containers to the pod network by the Container Network Interface,
// versions 1.0 and 1.1.
//
// The plugin that the runtime executes is the program itself under another name. It does nothing by itself: it hands
// the call to the worker by a unix socket, so that the worker owns the addresses, and prints what the worker answers.
//
// Invariants: ADD either attaches a container or leaves nothing; DEL of what is not there succeeds; a worker that is
// away is told as "try again later", so that the runtime does; whatever the plugin prints is what the specification
// wants, errors too; the socket is for root alone.
//
// It may import worker/network, and imports nothing of Kubernetes.
package cni
