package worker

import (
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxShared bounds the owners whose pods share memory; beyond it the sharing begins anew.
	maxShared = 1024
	// maxSharedMaps bounds the different annotations that are kept of one owner's pods: those before and after the
	// runtime's figures, with compiled and with cached code, of one version and of the next.
	maxSharedMaps = 8
)

// sharer has the pods of one owner share what they have in common: ten thousand replicas differ in name and address
// only. What is shared is never changed.
type sharer struct {
	mu     sync.Mutex
	owners map[types.UID]*common
}

// common is what the pods of an owner have in common.
type common struct {
	refs        []metav1.OwnerReference
	labels      map[string]string
	annotations []map[string]string
	spec        corev1.PodSpec
}

// share makes the pod, which nobody else has seen yet, one with those of its owner.
func (s *sharer) share(p *corev1.Pod) {
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.owners[owner.UID]
	if c == nil {
		if s.owners == nil || len(s.owners) >= maxShared {
			s.owners = map[types.UID]*common{}
		}
		s.owners[owner.UID] = &common{refs: p.OwnerReferences, labels: p.Labels, annotations: []map[string]string{p.Annotations}, spec: p.Spec}
		return
	}
	if equality.Semantic.DeepEqual(p.OwnerReferences, c.refs) {
		p.OwnerReferences = c.refs
	}
	if maps.Equal(p.Labels, c.labels) {
		p.Labels = c.labels
	}
	p.Annotations = c.annotationsLike(p.Annotations)
	if equality.Semantic.DeepEqual(p.Spec, c.spec) {
		p.Spec = c.spec
	} else if p.Spec.NodeName == c.spec.NodeName { // a new version under the same owner
		c.spec = p.Spec
	}
}

func (c *common) annotationsLike(m map[string]string) map[string]string {
	for _, known := range c.annotations {
		if maps.Equal(m, known) {
			return known
		}
	}
	if len(c.annotations) >= maxSharedMaps {
		c.annotations = c.annotations[1:]
	}
	c.annotations = append(c.annotations[:len(c.annotations):len(c.annotations)], m)
	return m
}

// noteBook has pods share the notes that are for their annotations.
type noteBook struct {
	mu   sync.Mutex
	last map[string]string
}

func (b *noteBook) share(notes map[string]string) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !maps.Equal(notes, b.last) {
		b.last = notes
	}
	return b.last
}
