// Package flows tells connections as they happen, over HTTP: one JSON object a line, filtered by namespace, pod, Service and
// verdict.
//
// Invariants: while nobody asks, nothing is recorded; a client that is slow loses events and is told how many; what a client
// asks for is checked before the first event is sent.
//
// It may import ebpfproxy.
package flows
