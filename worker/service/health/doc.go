// Package health answers those who ask whether this node's service proxy is well: load balancers and cluster autoscalers
// at its healthz address, and load balancers of a Service with externalTrafficPolicy Local at the Service's
// healthCheckNodePort. Paths, headers and bodies are those of Kubernetes' own proxy, for the same programs ask.
//
// Invariants: a proxy that is behind with its changes for lagTimeout is not well; one that has nothing to do is, however
// long ago it last did anything. A node that is to be deleted is well, but not eligible.
//
// It may import client-go.
package health
