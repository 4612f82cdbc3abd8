// Package stats tells what the node and its pods take: of the machine from the kernel's own accounts, of containers from
// their runtimes. It serves them under the names that Kubernetes' tools know: /stats/summary, /metrics/resource and
// /metrics/cadvisor.
//
// Invariants:
//   - Nothing is measured unless somebody asks. What was measured a moment ago answers those who ask together; it is let go
//     of when nobody has asked for a while.
//   - What a runtime did not measure is left out, not told as zero.
//   - A runtime that is away costs its own containers' figures, never the others'.
//
// It may import the CRI's and kubelet's types and prometheus.
package stats
