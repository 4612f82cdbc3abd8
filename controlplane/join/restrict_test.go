package join

import (
	"context"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/petrelrun/petrel/controlplane/api"
	"github.com/petrelrun/petrel/controlplane/resource"
)

func TestRestrict(t *testing.T) {
	node := func(name string, change ...func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"a": "b"}}}
		for _, c := range change {
			c(n)
		}
		return n
	}
	pod := func(on string, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"app": "x"}}, Spec: corev1.PodSpec{NodeName: on}}
		for _, c := range change {
			c(p)
		}
		return p
	}
	lease := func(name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	volume := func(on string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
		now := metav1.Unix(1, 0)
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v", DeletionTimestamp: &now, Finalizers: []string{"other", api.LocalPathFinalizer}}}
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{on}}},
		}}}}
		for _, c := range change {
			c(v)
		}
		return v
	}
	mirror := func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"} }
	owner := func(kind, name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: kind, Name: name}}
		}
	}
	let := func(v *corev1.PersistentVolume) { v.Finalizers = []string{"other"} }
	live := func(v *corev1.PersistentVolume) { v.DeletionTimestamp = nil }
	anywhere := func(v *corev1.PersistentVolume) { v.Spec.NodeAffinity = nil }
	tests := []struct {
		name     string
		obj, old runtime.Object
		refused  string
	}{
		{name: "its node is made", obj: node("n1")},
		{name: "another node is made", obj: node("n2"), refused: "another"},
		{name: "its label", obj: node("n1", func(n *corev1.Node) { n.Labels["zone"] = "z" }), old: node("n1")},
		{name: "its taint", obj: node("n1", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "x", Effect: "NoSchedule"}} }), old: node("n1"), refused: "taints"},
		{name: "a trusted label, made", obj: node("n1", func(n *corev1.Node) { n.Labels[restrictedLabel+"x"] = "z" }), refused: restrictedLabel},
		{name: "a trusted label, taken", obj: node("n1"), old: node("n1", func(n *corev1.Node) { n.Labels[restrictedLabel+"x"] = "z" }), refused: restrictedLabel},
		{name: "its status", obj: node("n1", func(n *corev1.Node) { n.Status.Phase = corev1.NodeRunning }), old: node("n1")},
		{name: "a node deleted", old: node("n1"), refused: "delete"},
		{name: "its lease", obj: lease("n1"), old: lease("n1")},
		{name: "another lease", obj: lease("n2"), refused: "another node's"},
		{name: "another lease deleted", old: lease("n2"), refused: "another node's"},
		{name: "its pod's status", obj: pod("n1", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }), old: pod("n1")},
		{name: "its pod's annotation", obj: pod("n1", func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }), old: pod("n1")},
		{name: "its pod deleted", old: pod("n1")},
		{name: "a pod made", obj: pod("n1"), refused: "create"},
		{name: "a mirror made", obj: pod("n1", mirror)},
		{name: "a mirror of its node's made", obj: pod("n1", mirror, owner("Node", "n1"))},
		{name: "a mirror of another node's made", obj: pod("n1", mirror, owner("Node", "n2")), refused: "its node's"},
		{name: "a mirror of a deployment made", obj: pod("n1", mirror, owner("ReplicaSet", "n1")), refused: "its node's"},
		{name: "a mirror elsewhere made", obj: pod("n2", mirror), refused: "not bound"},
		{name: "a mirror that reads a Secret made", obj: pod("n1", mirror, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}}
		}), refused: "Secrets"},
		{name: "a mirror with pull secrets made", obj: pod("n1", mirror, func(p *corev1.Pod) {
			p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "s"}}
		}), refused: "Secrets"},
		{name: "a mirror with a service account made", obj: pod("n1", mirror, func(p *corev1.Pod) { p.Spec.ServiceAccountName = "admin" }), refused: "service account"},
		{name: "its mirror deleted", old: pod("n1", mirror)},
		{name: "its mirror made a pod", obj: pod("n1"), old: pod("n1", mirror), refused: "mirror"},
		{name: "its pod made a mirror", obj: pod("n1", mirror), old: pod("n1"), refused: "mirror"},
		{name: "another's pod", obj: pod("n2"), old: pod("n2"), refused: "not bound"},
		{name: "another's pod deleted", old: pod("n2"), refused: "not bound"},
		{name: "nobody's pod", obj: pod("n1"), old: pod(""), refused: "not bound"},
		{name: "its pod's labels", obj: pod("n1", func(p *corev1.Pod) { p.Labels["app"] = "y" }), old: pod("n1"), refused: "labels"},
		{name: "its pod's spec", obj: pod("n1", func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" }), old: pod("n1"), refused: "spec"},
		{name: "its pod's owners", obj: pod("n1", func(p *corev1.Pod) { p.OwnerReferences = []metav1.OwnerReference{{Name: "x"}} }), old: pod("n1"), refused: "owners"},
		{name: "its CSINode", obj: &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}},
		{name: "another's CSINode", obj: &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, refused: "another node's"},
		{name: "its volume let go", obj: volume("n1", let), old: volume("n1")},
		{name: "another's volume let go", obj: volume("n2", let), old: volume("n2"), refused: "not on the node"},
		{name: "a volume of all nodes let go", obj: volume("n1", let, anywhere), old: volume("n1", anywhere), refused: "not on the node"},
		{name: "its volume, which lives, let go", obj: volume("n1", let, live), old: volume("n1", live), refused: "not deleted"},
		{name: "all finalizers of its volume", obj: volume("n1", func(v *corev1.PersistentVolume) { v.Finalizers = nil }), old: volume("n1"), refused: "nothing else"},
		{name: "its volume's spec", obj: volume("n1", let, func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "x" }), old: volume("n1"), refused: "nothing else"},
		{name: "a volume made", obj: volume("n1"), refused: "create"},
		{name: "its volume deleted", old: volume("n1"), refused: "delete"},
		{name: "what is not a node's", obj: &corev1.ConfigMap{}},
	}
	d, _ := resource.Lookup(podsResource)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Restriction{}.Admit(context.Background(), d, resource.Call{Name: "x", User: nodeUser("n1")}, tt.obj, tt.old)
			if tt.refused == "" && err != nil || tt.refused != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tt.refused)) {
				t.Fatalf("got %v, want %q", err, tt.refused)
			}
			for _, call := range []resource.Call{{}, {User: person}, {User: machine}} {
				if err := (Restriction{}).Admit(context.Background(), d, call, tt.obj, tt.old); err != nil {
					t.Fatalf("%+v: %v", call.User, err)
				}
			}
		})
	}
}

// TestRestrictionIsAsked goes through the registry, also for deletions.
func TestRestrictionIsAsked(t *testing.T) {
	client := registry.Client("test")
	if _, err := client.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "guarded"},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}); err != nil {
		t.Fatal(err)
	}
	d, _ := resource.Lookup(podsResource)
	remove := func(node string) error {
		_, _, err := registry.Delete(t.Context(), d, resource.Call{Namespace: "default", Name: "guarded", User: nodeUser(node)}, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		return err
	}
	if err := remove("n2"); !apierrors.IsForbidden(err) {
		t.Fatalf("another node deletes it: %v", err)
	}
	if err := remove("n1"); err != nil {
		t.Fatal(err)
	}
}
