package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// maxScore is what the best node gets from one Score. It is fine enough that one pod more on a node of a thousand
// shows.
const maxScore = 1_000_000

// Score tells how well a node suits a pod that it can take. It is pure.
type Score struct {
	Name   string
	Weight int64
	// Applies tells whether the score can make any difference for the pod; nil when it always can.
	Applies func(p *Pod, nodes []*Node) bool
	// Raw rates one node.
	Raw func(p *Pod, n *Node) int64
	// Normalize brings the raw rates of all nodes to 0 … maxScore; nil when they are already.
	Normalize func(raw []int64)
}

// scores and how much each counts. What a pod or a node asks for outweighs the even use of the nodes.
var scores = []Score{
	{Name: "TaintToleration", Weight: 3, Applies: anyDeters, Raw: rawTaints, Normalize: fewestBest},
	{Name: "NodeAffinity", Weight: 2, Applies: prefers, Raw: rawAffinity, Normalize: mostBest},
	{Name: "LeastAllocated", Weight: 1, Raw: rawLeastAllocated},
}

// rate gives each node its weighted sum.
func rate(p *Pod, nodes []*Node) []int64 {
	total := make([]int64, len(nodes))
	raw := make([]int64, len(nodes))
	for _, s := range scores {
		if s.Applies != nil && !s.Applies(p, nodes) {
			continue
		}
		for i, n := range nodes {
			raw[i] = s.Raw(p, n)
		}
		if s.Normalize != nil {
			s.Normalize(raw)
		}
		for i := range raw {
			total[i] += s.Weight * raw[i]
		}
	}
	return total
}

// best is the index of the highest sum, the first among equals: nodes come sorted by name.
func best(total []int64) int {
	at := 0
	for i := range total {
		if total[i] > total[at] {
			at = i
		}
	}
	return at
}

func anyDeters(_ *Pod, nodes []*Node) bool {
	return slices.ContainsFunc(nodes, func(n *Node) bool { return len(n.deterring) > 0 })
}

// rawTaints counts the taints that would rather not have the pod.
func rawTaints(p *Pod, n *Node) int64 {
	var count int64
	for i := range n.deterring {
		if !tolerates(p, &n.deterring[i]) {
			count++
		}
	}
	return count
}

func prefers(p *Pod, _ []*Node) bool { return p.preferred != nil }

// rawAffinity adds up the weights of the preferences that the node meets.
func rawAffinity(p *Pod, n *Node) int64 { return p.preferred.Score(n.Object) }

// rawLeastAllocated is the share of the node that is free once the pod is on it, the mean over what it has.
func rawLeastAllocated(p *Pod, n *Node) int64 {
	var sum, kinds int64
	add := func(have, used, want int64) {
		if have > 0 {
			sum += int64(float64(max(have-used-want, 0)) / float64(have) * maxScore)
			kinds++
		}
	}
	add(n.Allocatable.MilliCPU, n.Used.MilliCPU, p.Requests.MilliCPU)
	add(n.Allocatable.Memory, n.Used.Memory, p.Requests.Memory)
	add(n.Allocatable.Pods, n.Used.Pods, p.Requests.Pods)
	if kinds == 0 {
		return 0
	}
	return sum / kinds
}

// mostBest gives the highest rate maxScore and the others their share.
func mostBest(raw []int64) {
	highest := slices.Max(raw)
	for i := range raw {
		if highest > 0 {
			raw[i] = raw[i] * maxScore / highest
		}
	}
}

// fewestBest gives a count of zero maxScore and the highest count nothing.
func fewestBest(raw []int64) {
	mostBest(raw)
	for i := range raw {
		raw[i] = maxScore - raw[i]
	}
}

// unschedulableCondition is what a pod's status says when no node takes it.
func unschedulableCondition(message string) corev1.PodCondition {
	return corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
	}
}
