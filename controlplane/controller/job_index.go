package controller

import (
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// envCompletionIndex tells a pod of an Indexed Job which part of the work is its own.
const envCompletionIndex = "JOB_COMPLETION_INDEX"

func indexed(job *batchv1.Job) bool {
	return job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
}

// podIndex reads a pod's completion index; noIndex when it has none.
func podIndex(pod *corev1.Pod) int {
	i, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || i < 0 {
		return noIndex
	}
	return i
}

// setIndex makes a pod the one of an index: annotation, label, host name, and the variable in every container that
// does not set it itself.
func setIndex(pod *corev1.Pod, job string, index int) {
	value := strconv.Itoa(index)
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	if pod.Labels == nil {
		pod.Labels = make(map[string]string)
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = value
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = value
	pod.GenerateName = generateName(job + "-" + value)
	if pod.Spec.Hostname == "" {
		pod.Spec.Hostname = strings.TrimSuffix(pod.GenerateName, "-")
	}
	for i := range pod.Spec.InitContainers {
		addIndexEnv(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		addIndexEnv(&pod.Spec.Containers[i])
	}
}

func addIndexEnv(c *corev1.Container) {
	for _, e := range c.Env {
		if e.Name == envCompletionIndex {
			return
		}
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: envCompletionIndex, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{
			APIVersion: "v1", FieldPath: "metadata.annotations['" + batchv1.JobCompletionIndexAnnotation + "']",
		},
	}})
}

// indexSet is the set of indexes that are done, kept as the status writes it: "0,2-5,7".
type indexSet map[int]struct{}

// maxCompletions bounds an index, and by it what a malformed status can make this process allocate. Kubernetes
// allows no larger Indexed Job.
const maxCompletions = 100_000

// parseIndexes reads the status' form. What is malformed is left out: it was never written by this controller.
func parseIndexes(s string) indexSet {
	set := make(indexSet)
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		if err != nil || from < 0 || from >= maxCompletions {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil || to < from || to >= maxCompletions {
				continue
			}
		}
		for i := from; i <= to; i++ {
			set.add(i)
		}
	}
	return set
}

func (s indexSet) add(i int) { s[i] = struct{}{} }

func (s indexSet) has(i int) bool {
	_, ok := s[i]
	return ok
}

func (s indexSet) count() int { return len(s) }

// String writes the set with runs of three or more as ranges, two as "a,b".
func (s indexSet) String() string {
	sorted := make([]int, 0, len(s))
	for i := range s {
		sorted = append(sorted, i)
	}
	slices.Sort(sorted)
	var b strings.Builder
	for at := 0; at < len(sorted); {
		end := at
		for end+1 < len(sorted) && sorted[end+1] == sorted[end]+1 {
			end++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(sorted[at]))
		if end > at {
			sep := byte('-')
			if end == at+1 {
				sep = ','
			}
			b.WriteByte(sep)
			b.WriteString(strconv.Itoa(sorted[end]))
		}
		at = end + 1
	}
	return b.String()
}
