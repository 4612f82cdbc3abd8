package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxReasons bounds the reasons that a message lists; taints can be many.
const maxReasons = 20

// Diagnosis counts why nodes were turned down.
type Diagnosis struct {
	Nodes   int // how many nodes there were
	Reasons map[string]int
}

func (d *Diagnosis) add(reasons []string) {
	if d.Reasons == nil {
		d.Reasons = make(map[string]int)
	}
	for _, r := range reasons {
		d.Reasons[r]++
	}
}

// Explain says in a sentence why no node takes the pod, the most frequent reason first: "0/3 nodes are available:
// 2 Insufficient cpu, 1 node(s) were unschedulable."
func (d *Diagnosis) Explain() string {
	if d.Nodes == 0 {
		return "0/0 nodes are available: no node has registered."
	}
	reasons := make([]string, 0, len(d.Reasons))
	for r := range d.Reasons {
		reasons = append(reasons, r)
	}
	slices.SortFunc(reasons, func(a, b string) int {
		return cmp.Or(cmp.Compare(d.Reasons[b], d.Reasons[a]), cmp.Compare(a, b))
	})
	parts := make([]string, 0, maxReasons+1)
	for i, r := range reasons {
		if i == maxReasons {
			parts = append(parts, fmt.Sprintf("and %d more reasons", len(reasons)-maxReasons))
			break
		}
		parts = append(parts, fmt.Sprintf("%d %s", d.Reasons[r], r))
	}
	return fmt.Sprintf("0/%d nodes are available: %s.", d.Nodes, strings.Join(parts, ", "))
}
