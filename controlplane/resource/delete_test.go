package resource

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/store"
)

func policy(p metav1.DeletionPropagation) metav1.DeleteOptions {
	return metav1.DeleteOptions{PropagationPolicy: &p}
}

func TestPropagation(t *testing.T) {
	const orphan, foreground = metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents
	tests := []struct {
		name     string
		have     []string
		opts     metav1.DeleteOptions
		byKind   bool
		want     []string
		wantNone bool
	}{
		{name: "background by default", wantNone: true},
		{name: "orphan by the kind's default", byKind: true, want: []string{orphan}},
		{name: "background against the kind's default", byKind: true, opts: policy(metav1.DeletePropagationBackground), wantNone: true},
		{name: "orphan", opts: policy(metav1.DeletePropagationOrphan), want: []string{orphan}},
		{name: "foreground", opts: policy(metav1.DeletePropagationForeground), want: []string{foreground}},
		{name: "old way to orphan", opts: metav1.DeleteOptions{OrphanDependents: ptr.To(true)}, want: []string{orphan}},
		{name: "old way to background", byKind: true, opts: metav1.DeleteOptions{OrphanDependents: ptr.To(false)}, wantNone: true},
		{name: "others stay", have: []string{"x/y"}, opts: policy(metav1.DeletePropagationForeground), want: []string{"x/y", foreground}},
		{name: "an earlier choice stands", have: []string{foreground}, byKind: true, want: []string{foreground}},
		{name: "a new choice replaces it", have: []string{foreground, "x/y"}, opts: policy(metav1.DeletePropagationOrphan), want: []string{"x/y", orphan}},
		{name: "background takes it away", have: []string{orphan}, opts: policy(metav1.DeletePropagationBackground), wantNone: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := propagation(tt.have, &tt.opts, tt.byKind)
			if !slices.Equal(got, tt.want) || tt.wantNone != (len(got) == 0) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDeleteWaitsForFinalizers(t *testing.T) {
	ns := space(t)
	d := create(t, newDeployment(ns, "d"))
	out, removed, err := shared.Delete(t.Context(), deployments(), call(ns, "d"), policy(metav1.DeletePropagationForeground))
	if err != nil || removed {
		t.Fatal(removed, err)
	}
	got := out.(*appsv1.Deployment)
	if got.DeletionTimestamp == nil || *got.DeletionGracePeriodSeconds != 0 || got.Generation != d.Generation+1 {
		t.Fatalf("marked %+v", got.ObjectMeta)
	}
	again, removed, err := shared.Delete(t.Context(), deployments(), call(ns, "d"), metav1.DeleteOptions{})
	if err != nil || removed || again.(*appsv1.Deployment).ResourceVersion != got.ResourceVersion {
		t.Fatalf("second deletion: removed %v, %v", removed, err)
	}
	// New finalizers are refused, taking the last away removes the object.
	got.Finalizers = append(got.Finalizers, "x/y")
	if _, err := shared.Client("test").Update(t.Context(), got); !apierrors.IsInvalid(err) {
		t.Errorf("a finalizer on a deleted object: %v", err)
	}
	got.Finalizers = nil
	if _, err := shared.Client("test").Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.Get(t.Context(), deployments(), ns, "d", true); !apierrors.IsNotFound(err) {
		t.Fatalf("after the last finalizer: %v", err)
	}
}

func TestJobsOrphanTheirPodsByDefault(t *testing.T) {
	ns := space(t)
	create(t, newJob(ns, "j"))
	d := must(batchv1.SchemeGroupVersion.WithResource("jobs"))
	out, removed, err := shared.Delete(t.Context(), d, call(ns, "j"), metav1.DeleteOptions{})
	if err != nil || removed || !slices.Contains(out.(*batchv1.Job).Finalizers, metav1.FinalizerOrphanDependents) {
		t.Fatal(out, removed, err)
	}
}

func TestPodsAreDeletedGracefully(t *testing.T) {
	ns := space(t)
	bind := func(name string) *corev1.Pod {
		p := newPod(ns, name)
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](20)
		create(t, p)
		if err := shared.Bind(t.Context(), call(ns, name), &corev1.Binding{ObjectMeta: meta1(ns, name), Target: corev1.ObjectReference{Name: "node"}}); err != nil {
			t.Fatal(err)
		}
		return read(t, newPod(ns, name))
	}
	grace := func(name string, opts metav1.DeleteOptions) (*corev1.Pod, bool) {
		t.Helper()
		out, removed, err := shared.Delete(t.Context(), pods(), call(ns, name), opts)
		if err != nil {
			t.Fatal(err)
		}
		return out.(*corev1.Pod), removed
	}
	create(t, newPod(ns, "unbound"))
	if _, removed := grace("unbound", metav1.DeleteOptions{}); !removed {
		t.Error("a pod without a node has nobody to end it, and stays")
	}
	bind("running")
	p, removed := grace("running", metav1.DeleteOptions{})
	if removed || *p.DeletionGracePeriodSeconds != 20 || p.Generation != 2 {
		t.Fatalf("removed %v, %+v", removed, p.ObjectMeta)
	}
	if q, removed := grace("running", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](60)}); removed || *q.DeletionGracePeriodSeconds != 20 {
		t.Error("a second deletion made the grace longer")
	}
	if q, removed := grace("running", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](5)}); removed || *q.DeletionGracePeriodSeconds != 5 ||
		!q.DeletionTimestamp.Before(p.DeletionTimestamp) {
		t.Error("a second deletion did not make the grace shorter")
	}
	// The node's status writes go on in the meantime, and do not remove the pod.
	q := read(t, newPod(ns, "running"))
	q.Status.Phase = corev1.PodRunning
	if _, err := shared.Client("node").UpdateStatus(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, removed := grace("running", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); !removed {
		t.Error("grace 0 does not remove")
	}
	done := bind("done")
	done.Status.Phase = corev1.PodSucceeded
	if _, err := shared.Client("node").UpdateStatus(t.Context(), done); err != nil {
		t.Fatal(err)
	}
	if _, removed := grace("done", metav1.DeleteOptions{}); !removed {
		t.Error("a pod that has ended stays")
	}
}

func TestDeletePreconditionsAndDryRun(t *testing.T) {
	ns := space(t)
	cm := create(t, newConfigMap(ns, "cm"))
	d := must(corev1.SchemeGroupVersion.WithResource("configmaps"))
	for name, p := range map[string]metav1.Preconditions{
		"UID": {UID: ptr.To(types.UID("other"))}, "resourceVersion": {ResourceVersion: ptr.To("1")},
	} {
		if _, _, err := shared.Delete(t.Context(), d, call(ns, "cm"), metav1.DeleteOptions{Preconditions: &p}); !apierrors.IsConflict(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	app := create(t, newApp(ns, "a"))
	ad, _ := lookupKind(appKind)
	if _, _, err := shared.Delete(t.Context(), ad, call(ns, "a"), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("x"))}}); !apierrors.IsConflict(err) {
		t.Errorf("own kind: %v", err)
	}
	both := policy(metav1.DeletePropagationOrphan)
	both.OrphanDependents = ptr.To(true)
	for _, def := range []*Definition{d, ad} {
		if _, _, err := shared.Delete(t.Context(), def, call(ns, map[bool]string{true: "a", false: "cm"}[def == ad]), both); !apierrors.IsInvalid(err) {
			t.Errorf("two ways to say it: %v", err)
		}
	}
	dry := call(ns, "cm")
	dry.DryRun = true
	if _, removed, err := shared.Delete(t.Context(), d, dry, metav1.DeleteOptions{}); err != nil || !removed {
		t.Errorf("dry run: removed %v, %v", removed, err)
	}
	if got := read(t, newConfigMap(ns, "cm")); got.ResourceVersion != cm.ResourceVersion {
		t.Error("a dry run wrote")
	}
	exact := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &cm.UID, ResourceVersion: &cm.ResourceVersion}}
	if _, removed, err := shared.Delete(t.Context(), d, call(ns, "cm"), exact); err != nil || !removed {
		t.Errorf("exact: removed %v, %v", removed, err)
	}
	if _, _, err := shared.Delete(t.Context(), d, call(ns, "cm"), metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("twice: %v", err)
	}
	_ = app
}

func TestDeleteCollection(t *testing.T) {
	ns := space(t)
	for _, name := range []string{"a", "b", "c"} {
		cm := newConfigMap(ns, name)
		cm.Labels = map[string]string{"keep": map[bool]string{true: "yes", false: "no"}[name == "b"]}
		create(t, cm)
	}
	d := must(corev1.SchemeGroupVersion.WithResource("configmaps"))
	deleted, err := shared.DeleteCollection(t.Context(), d, call(ns, ""), store.ListOptions{Query: store.Query{
		Namespace: ns, Labels: labels.SelectorFromSet(labels.Set{"keep": "no"})}}, metav1.DeleteOptions{})
	if err != nil || len(deleted) != 2 {
		t.Fatal(len(deleted), err)
	}
	left, err := shared.List(t.Context(), d, store.ListOptions{Query: store.Query{Namespace: ns}, Fresh: true})
	if err != nil || len(left.Entries) != 1 || left.Entries[0].Name != "b" {
		t.Fatal(left, err)
	}
}
