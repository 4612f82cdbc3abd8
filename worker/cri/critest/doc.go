// Package critest is the conformance suite that every container runtime under the worker has to pass. It runs on the
// fake in crifake and, when PETREL_CRI_ENDPOINT, PETREL_CRI_TASK_IMAGE and PETREL_CRI_SERVER_IMAGE say where it is, on
// a real one; the end-to-end tests call Run themselves.
//
// It checks what the worker relies on and no more. It may import worker/cri.
package critest
