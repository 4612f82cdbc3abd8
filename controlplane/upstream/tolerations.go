package upstream

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1conversion "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/util/tolerations"
)

// MergeTolerations is what both lists tolerate, each toleration that another one covers left out.
func MergeTolerations(first, second []corev1.Toleration) ([]corev1.Toleration, error) {
	a, err := internalTolerations(first)
	if err != nil {
		return nil, err
	}
	b, err := internalTolerations(second)
	if err != nil {
		return nil, err
	}
	merged := tolerations.MergeTolerations(a, b)
	out := make([]corev1.Toleration, len(merged))
	for i := range merged {
		if err := corev1conversion.Convert_core_Toleration_To_v1_Toleration(&merged[i], &out[i], nil); err != nil {
			return nil, fmt.Errorf("convert toleration: %w", err)
		}
	}
	return out, nil
}

func internalTolerations(list []corev1.Toleration) ([]core.Toleration, error) {
	out := make([]core.Toleration, len(list))
	for i := range list {
		if err := corev1conversion.Convert_v1_Toleration_To_core_Toleration(&list[i], &out[i], nil); err != nil {
			return nil, fmt.Errorf("convert toleration: %w", err)
		}
	}
	return out, nil
}
