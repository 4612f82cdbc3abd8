// Package resolvconf reads and writes resolv.conf, and says what a pod's is by its dnsPolicy and dnsConfig.
//
// Invariants: Parse never fails, as no resolver does: what it does not know it passes over; what it answers, and what
// ForPod makes of it, keeps to the limits that Kubernetes names.
//
// It may import the API's types and the standard library.
package resolvconf
