package scheduler

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	helpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

func mounting(claims ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, c := range claims {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v-" + c, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c}}})
		}
	}
}

func claimOf(name, class string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("claim-" + name)},
		Spec:       corev1.PersistentVolumeClaimSpec{StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func boundTo(volume string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName, c.Status.Phase = volume, corev1.ClaimBound
		c.Annotations = map[string]string{helpers.AnnBindCompleted: "yes"}
	}
}

func selected(node string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{helpers.AnnSelectedNode: node}
	}
}

func classOf(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

// volumeOn is a free volume of a class that is on one node.
func volumeOn(name, class, node string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
}

func named(n *corev1.Node) *corev1.Node {
	n.Labels = map[string]string{corev1.LabelHostname: n.Name, "zone": "z-" + n.Name}
	return n
}

func storageWith(t *testing.T, objects ...any) *storage {
	t.Helper()
	s := &storage{}
	for _, at := range []*cache.Indexer{&s.claims, &s.volumes, &s.classes} {
		*at = cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	}
	for _, o := range objects {
		at := s.claims
		switch o.(type) {
		case *corev1.PersistentVolume:
			at = s.volumes
		case *storagev1.StorageClass:
			at = s.classes
		}
		if err := at.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestFilterVolumes(t *testing.T) {
	wait, now := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	zoned := classOf("zoned", "p", wait)
	zoned.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone", Values: []string{"z-b"}}}}}
	s := storageWith(t, classOf("made", "p", wait), classOf("now", "p", now), classOf("disks", helpers.NotSupportedProvisioner, wait), zoned,
		volumeOn("a1", "disks", "a"), volumeOn("b1", "disks", "b"), volumeOn("b2", "disks", "b"), volumeOn("on-a", "", "a"),
		claimOf("bound", "", boundTo("on-a")), claimOf("lost", "", boundTo("none"), func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }),
		claimOf("nowhere", "", boundTo("none")), claimOf("later", "made"), claimOf("chosen", "made", selected("b")), claimOf("immediate", "now"),
		claimOf("classless", ""), claimOf("disk", "disks"), claimOf("disk2", "disks"), claimOf("zoned", "zoned"),
		claimOf("going", "made", func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = ptr.To(metav1.Now()) }),
		claimOf("alone", "made", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
		}),
		claimOf("p-scratch", "made"),
	)
	c := newCluster()
	for _, name := range []string{"a", "b"} {
		c.SetNode(named(node(name)))
	}
	for _, tc := range []struct {
		pod  *corev1.Pod
		want string // the nodes that will do, or why there is none
	}{
		{pod("p"), "a b"},
		{pod("p", mounting("bound")), "a"},
		{pod("p", mounting("later")), "a b"},
		{pod("p", mounting("chosen")), "b"},
		{pod("p", mounting("chosen", "bound")), `0/2 nodes are available: 1 node(s) didn't find available persistent volumes to bind, 1 node(s) didn't match PersistentVolume's node affinity.`},
		{pod("p", mounting("disk")), "a b"},
		{pod("p", mounting("disk", "disk2")), "b"}, // two disks are on b alone
		{pod("p", mounting("zoned")), "b"},
		{pod("p", mounting("missing")), `0/2 nodes are available: 2 persistentvolumeclaim "missing" not found.`},
		{pod("p", mounting("lost")), `0/2 nodes are available: 2 persistentvolumeclaim "lost" bound to non-existent persistentvolume "none".`},
		{pod("p", mounting("nowhere")), `0/2 nodes are available: 2 persistentvolume "none" not found.`},
		{pod("p", mounting("immediate")), "0/2 nodes are available: 2 pod has unbound immediate PersistentVolumeClaims."},
		{pod("p", mounting("classless")), "0/2 nodes are available: 2 pod has unbound immediate PersistentVolumeClaims."},
		{pod("p", mounting("going")), `0/2 nodes are available: 2 persistentvolumeclaim "going" is being deleted.`},
		{pod("p", mounting("alone")), "0/2 nodes are available: 2 pod uses a ReadWriteOncePod PersistentVolumeClaim that another pod has."},
		{pod("p", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}
		}), `0/2 nodes are available: 2 persistentvolumeclaim "p-scratch" was not created for the pod.`},
	} {
		p := NewPod(tc.pod)
		p.volumes = s.volumesOf(tc.pod, func(claim string) bool { return claim == "alone" })
		var nodes []string
		var d Diagnosis
		for _, n := range c.Snapshot().Nodes {
			d.Nodes++
			if reasons := check(p, n, nil); len(reasons) > 0 {
				d.add(reasons)
				continue
			}
			nodes = append(nodes, n.Name)
		}
		got := strings.Join(nodes, " ")
		if got == "" {
			got = d.Explain()
		}
		if got != tc.want {
			t.Errorf("%v: %q, want %q", claimsOf(tc.pod), got, tc.want)
		}
	}
}

// A pod whose claim waits for it is bound to the node only after the volume is, and to the node that the volume is on.
func TestVolumesAreBoundFirst(t *testing.T) {
	inBubble(t, func(r *rig) {
		claims := r.set.CoreV1().PersistentVolumeClaims("default")
		r.create(pod("p", mounting("c")))
		r.create(pod("missing", mounting("none")))
		r.settle(time.Second)
		r.wantNode("p", "")
		c, err := claims.Get(context.Background(), "c", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		where := c.Annotations[helpers.AnnSelectedNode]
		if where != "a" && where != "b" {
			t.Fatalf("selected %q", where)
		}
		writes := len(r.set.Actions())
		r.settle(10 * flushAfter) // nobody makes it
		r.wantNode("p", "")
		for _, action := range r.set.Actions()[writes:] {
			if action.GetVerb() == "update" && action.GetResource() == claimsResource {
				t.Errorf("the claim was written again: %v", action)
			}
		}
		if _, err := r.set.CoreV1().PersistentVolumes().Create(context.Background(), volumeOn("v", "made", where), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		boundTo("v")(c)
		if _, err := claims.Update(context.Background(), c, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.settle(lastBackoff + time.Second)
		r.wantNode("p", where)
		if _, err := claims.Create(context.Background(), claimOf("none", "", boundTo("v")), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.settle(lastBackoff + time.Second)
		r.wantNode("missing", where)
	}, named(node("a")), named(node("b")), claimOf("c", "made"), classOf("made", "p", storagev1.VolumeBindingWaitForFirstConsumer))
}
