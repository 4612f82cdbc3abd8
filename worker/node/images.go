package node

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

const (
	// maxImages and maxNames bound what a Node tells of images, as a kubelet's does: it is read by every watcher of nodes.
	maxImages = 50
	maxNames  = 5
)

// largest are the images that a Node tells of: the largest, which cost the most to pull elsewhere.
func largest(images []corev1.ContainerImage) []corev1.ContainerImage {
	out := make([]corev1.ContainerImage, 0, len(images))
	for _, i := range images {
		if len(i.Names) > 0 {
			out = append(out, corev1.ContainerImage{Names: i.Names[:min(maxNames, len(i.Names))], SizeBytes: i.SizeBytes})
		}
	}
	slices.SortFunc(out, func(a, b corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), cmp.Compare(a.Names[0], b.Names[0]))
	})
	return out[:min(maxImages, len(out))]
}
