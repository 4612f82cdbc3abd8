package worker

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// allotment is what CPU and memory a pod and its containers have: what is granted, or what is in force.
type allotment struct {
	Pod        *corev1.ResourceRequirements           `json:"pod,omitempty"`
	Containers map[string]corev1.ResourceRequirements `json:"containers"`
}

// allotmentOf is what the pod's spec says.
func allotmentOf(p *corev1.Pod) allotment {
	out := allotment{Pod: p.Spec.Resources, Containers: map[string]corev1.ResourceRequirements{}}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			out.Containers[list[i].Name] = list[i].Resources
		}
	}
	return out
}

func (t allotment) equal(other allotment) bool { return equality.Semantic.DeepEqual(t, other) }

func (t allotment) clone() allotment { return allotment{t.Pod, maps.Clone(t.Containers)} }

// in is the pod with these resources. Others may be reading the pod, so it is another.
func (t allotment) in(p *corev1.Pod) *corev1.Pod {
	out := *p
	out.Spec.Resources = t.Pod
	fill := func(list []corev1.Container) []corev1.Container {
		filled := append([]corev1.Container(nil), list...)
		for i := range filled {
			if own, ok := t.Containers[filled[i].Name]; ok {
				filled[i].Resources = own
			}
		}
		return filled
	}
	out.Spec.InitContainers, out.Spec.Containers = fill(p.Spec.InitContainers), fill(p.Spec.Containers)
	return &out
}

// resizeRecord is what is written down while a pod is resized: a worker that begins anew in the midst goes on.
type resizeRecord struct {
	Granted allotment `json:"granted"`
	InForce allotment `json:"inForce"`
}

// keepResize writes it down; nil removes it.
func (p paths) keepResize(object *corev1.Pod, r *resizeRecord) error {
	if r != nil {
		return writeJSON(p.resize(object.UID), r)
	}
	if err := os.Remove(p.resize(object.UID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// keptResize is nil for a pod that was not being resized.
func (p paths) keptResize(object *corev1.Pod) (*resizeRecord, error) {
	content, err := os.ReadFile(p.resize(object.UID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := &resizeRecord{}
	if err := json.Unmarshal(content, out); err != nil {
		return nil, err
	}
	return out, nil
}
