package node

import corev1 "k8s.io/api/core/v1"

// eventsOf are the reasons of events that tell of a condition's change, as a kubelet's are: when it holds, and when not.
var eventsOf = map[corev1.NodeConditionType]struct{ holds, not string }{
	corev1.NodeMemoryPressure: {"NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
	corev1.NodeDiskPressure:   {"NodeHasDiskPressure", "NodeHasNoDiskPressure"},
	corev1.NodePIDPressure:    {"NodeHasInsufficientPID", "NodeHasSufficientPID"},
	corev1.NodeReady:          {"NodeReady", "NodeNotReady"},
}

// changes are the events that tell what is other in next.
func changes(last, next *corev1.NodeStatus) (reasons []string) {
	was := map[corev1.NodeConditionType]corev1.ConditionStatus{}
	for _, c := range last.Conditions {
		was[c.Type] = c.Status
	}
	for _, c := range next.Conditions {
		if was[c.Type] == c.Status {
			continue
		}
		if c.Status == corev1.ConditionTrue {
			reasons = append(reasons, eventsOf[c.Type].holds)
		} else {
			reasons = append(reasons, eventsOf[c.Type].not)
		}
	}
	return reasons
}
