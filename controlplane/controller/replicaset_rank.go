package controller

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// rankForDeletion sorts pods so that those whose loss costs least come first: not bound, not running, not ready,
// cheaper by their deletion-cost annotation, sharing their node with more of their siblings, ready for a shorter
// time, restarted more often, newer. The name ends every tie, so that the order is the same each time.
func rankForDeletion(pods []*corev1.Pod) []*corev1.Pod {
	onNode := make(map[string]int)
	for _, pod := range pods {
		if pod.Spec.NodeName != "" && !finished(pod) {
			onNode[pod.Spec.NodeName]++
		}
	}
	ranked := slices.Clone(pods)
	slices.SortFunc(ranked, func(a, b *corev1.Pod) int {
		return cmp.Or(
			falseFirst(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			cmp.Compare(phaseRank(a), phaseRank(b)),
			falseFirst(ready(a), ready(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(onNode[b.Spec.NodeName], onNode[a.Spec.NodeName]),
			newerFirst(readySince(a), readySince(b)),
			cmp.Compare(restarts(b), restarts(a)),
			newerFirst(a.CreationTimestamp.Unix(), b.CreationTimestamp.Unix()),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return ranked
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func newerFirst(a, b int64) int { return cmp.Compare(b, a) }

func phaseRank(pod *corev1.Pod) int {
	switch pod.Status.Phase {
	case corev1.PodPending, "":
		return 0
	case corev1.PodUnknown:
		return 1
	}
	return 2
}

// deletionCost reads the annotation; what is missing or malformed costs nothing.
func deletionCost(pod *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}

func readySince(pod *corev1.Pod) int64 {
	if c := podCondition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Unix()
	}
	return 0
}

// restarts is the restart count of the container that restarted most.
func restarts(pod *corev1.Pod) int32 {
	var most int32
	for i := range pod.Status.ContainerStatuses {
		most = max(most, pod.Status.ContainerStatuses[i].RestartCount)
	}
	return most
}
