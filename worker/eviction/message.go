package eviction

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// message explains an eviction to the pod's owner, in kubelet's words.
func message(t Threshold, seen Amount, p *Candidate) string {
	name := short(t.Signal)
	parts := []string{
		fmt.Sprintf("The node was low on resource: %s.", resources[t.Signal]),
		fmt.Sprintf("Threshold quantity: %s, available: %s.", available(t.Signal, t.Least(seen.Capacity)), available(t.Signal, seen.Available)),
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		used, known := c.Uses[name]
		if requested := c.Requests[name]; known && used > requested {
			parts = append(parts, fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %s.",
				c.Name, quantity(used), quantity(requested), resources[t.Signal]))
		}
	}
	return strings.Join(parts, " ")
}

// available is an amount of what the signal is about: bytes, or a number.
func available(s Signal, n int64) string {
	switch s {
	case MemoryAvailable, NodeFSAvailable, ImageFSAvailable:
		return quantity(n)
	default:
		return resource.NewQuantity(n, resource.DecimalSI).String()
	}
}

// quantity is so many bytes, in whole KiB where it is more than one: nobody reads the rest.
func quantity(bytes int64) string {
	const kib = 1 << 10
	if bytes >= kib {
		bytes = bytes / kib * kib
	}
	return resource.NewQuantity(bytes, resource.BinarySI).String()
}
