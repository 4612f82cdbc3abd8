package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/controlplane/api"
)

// maxReportedErrors bounds the errors that a condition quotes.
const maxReportedErrors = 5

// remains is what a look at a terminating namespace found.
type remains struct {
	counts     map[string]int // by resource and group
	finalizers map[string]int
	errs       []string
}

func newRemains() *remains {
	return &remains{counts: make(map[string]int), finalizers: make(map[string]int)}
}

func (r *remains) add(gvr schema.GroupVersionResource, objects []api.Object, err error) {
	if len(objects) > 0 {
		r.counts[gvr.GroupResource().String()] += len(objects)
	}
	for _, obj := range objects {
		for _, f := range obj.GetFinalizers() {
			r.finalizers[f]++
		}
	}
	if err != nil && len(r.errs) < maxReportedErrors {
		first, _, _ := strings.Cut(err.Error(), "\n")
		r.errs = append(r.errs, fmt.Sprintf("%s: %s", gvr.Resource, first))
	}
}

func (r *remains) total() int {
	total := 0
	for _, n := range r.counts {
		total += n
	}
	return total
}

// listing writes "what (how many)" for each entry in a fixed order.
func listing(counts map[string]int) string {
	parts := make([]string, 0, len(counts))
	for what, n := range counts {
		parts = append(parts, fmt.Sprintf("%s (%d)", what, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// conditions tells what is left by the condition types that Kubernetes has for it. All are there from the first look
// on, since clients wait for them to appear; times move only when a condition turns.
func (r *remains) conditions(before []corev1.NamespaceCondition, now metav1.Time) []corev1.NamespaceCondition {
	after := []corev1.NamespaceCondition{
		// What there is to delete is known without asking anybody, so these two cannot fail here.
		condition(corev1.NamespaceDeletionDiscoveryFailure, false, "", "ResourcesDiscovered", "Every served resource is known"),
		condition(corev1.NamespaceDeletionGVParsingFailure, false, "", "ParsedGroupVersions", "Every group and version is known"),
		condition(corev1.NamespaceDeletionContentFailure, len(r.errs) > 0, "ContentDeletionFailed", "ContentDeleted",
			choose(len(r.errs) > 0, "Some objects cannot be deleted: "+strings.Join(r.errs, "; "), "Every object was asked to go")),
		condition(corev1.NamespaceContentRemaining, len(r.counts) > 0, "SomeResourcesRemain", "ContentRemoved",
			choose(len(r.counts) > 0, "Still there: "+listing(r.counts), "The namespace is empty")),
		condition(corev1.NamespaceFinalizersRemaining, len(r.finalizers) > 0, "SomeFinalizersRemain", "ContentHasNoFinalizers",
			choose(len(r.finalizers) > 0, "Finalizers keep objects: "+listing(r.finalizers), "No finalizer keeps an object")),
	}
	for i := range after {
		after[i].LastTransitionTime = now
		for _, b := range before {
			if b.Type == after[i].Type && b.Status == after[i].Status {
				after[i].LastTransitionTime = b.LastTransitionTime
			}
		}
	}
	return after
}

func choose(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

func condition(kind corev1.NamespaceConditionType, holds bool, bad, good, message string) corev1.NamespaceCondition {
	c := corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: good, Message: message}
	if holds {
		c.Status, c.Reason = corev1.ConditionTrue, bad
	}
	return c
}

// settled is since when the namespace has been seen empty.
func settled(conditions []corev1.NamespaceCondition) time.Time {
	for _, c := range conditions {
		if c.Type == corev1.NamespaceContentRemaining {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// sameConditions compares all but the times.
func sameConditions(a, b []corev1.NamespaceCondition) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.NamespaceCondition) bool {
		return x.Type == y.Type && x.Status == y.Status && x.Reason == y.Reason && x.Message == y.Message
	})
}
