package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func nodeWith(name string, ready corev1.ConditionStatus, since time.Time, inUse ...corev1.UniqueVolumeName) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		VolumesInUse: inUse, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastTransitionTime: metav1.NewTime(since)}},
	}}
}

func TestHeld(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: attachmentName("h^1", "d", "n1")}}
	const mine = corev1.UniqueVolumeName("kubernetes.io/csi/d^h^1")
	tainted := nodeWith("n1", corev1.ConditionUnknown, now, mine)
	tainted.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService}}
	for what, tc := range map[string]struct {
		node *corev1.Node
		want time.Duration
	}{
		"no node":                {nil, 0},
		"not in use":             {nodeWith("n1", corev1.ConditionTrue, now, "kubernetes.io/csi/d^h^2", "kubernetes.io/other", "x"), 0},
		"in use":                 {nodeWith("n1", corev1.ConditionTrue, now.Add(-time.Hour), mine), silentFor},
		"in use, away for long":  {nodeWith("n1", corev1.ConditionUnknown, now.Add(-silentFor), mine), 0},
		"in use, away for short": {nodeWith("n1", corev1.ConditionFalse, now.Add(-time.Minute), mine), silentFor - time.Minute},
		"out of service":         {tainted, 0},
	} {
		if got := held(tc.node, a, now); got != tc.want {
			t.Errorf("%s: %v, want %v", what, got, tc.want)
		}
	}
}

// TestVolumesInUseStayAttached though their pods were deleted by force, until the node has let go or was silent for long.
func TestVolumesInUseStayAttached(t *testing.T) {
	const a, b = "kubernetes.io/csi/d^h-a", "kubernetes.io/csi/d^h-b"
	inWorld(t, []build{newVolumes, newAttachments}, func(w *world) {
		want := func(what string, after time.Duration) {
			t.Helper()
			w.settle(after)
			if got := w.attached(); got != what {
				t.Errorf("attached %q, want %q", got, what)
			}
		}
		w.create(userOf("p1", "a", "n1"))
		w.create(userOf("p2", "b", "n2"))
		want("a@n1 b@n2", 5*time.Second)
		w.gone(userOf("p1", "a", "n1"))
		w.gone(userOf("p2", "b", "n2"))
		want("a@n1 b@n2", 20*time.Minute)
		changeStatus(w, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, func(n *corev1.Node) { n.Status.VolumesInUse = nil })
		want("b@n2", 5*time.Second)
		changeStatus(w, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, func(n *corev1.Node) {
			n.Status.Conditions[0].Status, n.Status.Conditions[0].LastTransitionTime = corev1.ConditionUnknown, metav1.Now()
		})
		want("b@n2", time.Minute)
		want("", 2*silentFor)
	}, csiVolume("a", "d"), csiVolume("b", "d"), claimObject("a", "", "1"), claimObject("b", "", "1"),
		nodeWith("n1", corev1.ConditionTrue, time.Now(), a), nodeWith("n2", corev1.ConditionTrue, time.Now(), b))
}

func TestNodesTellWhatIsAttached(t *testing.T) {
	inWorld(t, []build{newVolumes, newAttachments, newAttachedVolumes}, func(w *world) {
		on := func(node string) int {
			w.settle(5 * time.Second)
			return len(get(w, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}).Status.VolumesAttached)
		}
		w.create(userOf("p1", "a", "n1"))
		w.create(userOf("p2", "b", "n1"))
		if n := on("n1"); n != 0 {
			t.Errorf("%d are told before they are attached", n)
		}
		for _, v := range []string{"a", "b"} {
			changeStatus(w, &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: attachmentName("h-"+v, "d", "n1")}}, func(a *storagev1.VolumeAttachment) { a.Status.Attached = true })
		}
		if n := on("n1"); n != 2 {
			t.Errorf("%d are told", n)
		}
		got := get(w, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}).Status.VolumesAttached
		if got[0].Name != "kubernetes.io/csi/d^h-a" || got[1].Name != "kubernetes.io/csi/d^h-b" {
			t.Errorf("attached are %v", got)
		}
		w.gone(userOf("p1", "a", "n1"))
		if n := on("n1"); n != 1 {
			t.Errorf("%d are told after one has gone", n)
		}
		if n := on("n2"); n != 0 {
			t.Errorf("%d are told of the other node", n)
		}
	}, csiVolume("a", "d"), csiVolume("b", "d"), claimObject("a", "", "1"), claimObject("b", "", "1"), worker("n1"), worker("n2"))
}
