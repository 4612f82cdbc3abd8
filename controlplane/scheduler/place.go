package scheduler

// reasonsPerNode is room for what one node can have against a pod without an allocation.
const reasonsPerNode = 8

// Decision is the outcome for one pod: a node, or why there is none.
type Decision struct {
	Node      string // empty when no node takes the pod
	Diagnosis Diagnosis
}

// Place decides where a pod goes. It is pure: equal arguments give equal decisions.
func Place(p *Pod, s *Snapshot) Decision {
	var buffer [reasonsPerNode]string
	feasible := make([]*Node, 0, len(s.Nodes))
	diagnosis := Diagnosis{Nodes: len(s.Nodes)}
	for _, n := range s.Nodes {
		reasons := check(p, n, buffer[:0])
		if len(reasons) == 0 {
			feasible = append(feasible, n)
			continue
		}
		diagnosis.add(reasons)
	}
	switch len(feasible) {
	case 0:
		return Decision{Diagnosis: diagnosis}
	case 1:
		return Decision{Node: feasible[0].Name, Diagnosis: diagnosis}
	}
	return Decision{Node: feasible[best(rate(p, feasible))].Name, Diagnosis: diagnosis}
}
