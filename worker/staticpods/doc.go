// Package staticpods reads pods from a directory of the machine: what runs there needs no API, and is there before it.
//
// Invariants:
//   - A pod's UID follows from the node and the pod's text: it is the same after a restart of the worker, and another one
//     when the text has changed.
//   - A file that cannot be read as a pod changes nothing that runs: the pod that it last held goes on until it is gone or
//     holds another.
//   - Static pods refer to nothing of the API but by what the API shows of them: their mirror pods.
//
// It imports Kubernetes' API types and YAML.
package staticpods
