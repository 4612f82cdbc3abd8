// Package pod is what the worker knows about running one pod, without doing any of it: pure functions from the pod's
// spec, what the runtime was seen to hold and what the worker remembers, to the next step and to the status.
//
// Invariants: no function here reads a clock, talks to anyone or keeps state of its own; the same input gives the same
// answer; a step may be done twice (the worker may die after it) without harm; a pod whose end has been told is never
// started again.
//
// It may import Kubernetes' API types.
package pod
