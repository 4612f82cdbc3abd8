package controller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

var volumeBuilders = []build{newVolumes, newLocalPath}

func claimObject(name, class, size string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	if class != "-" {
		c.Spec.StorageClassName = &class
	}
	return c
}

func volumeObject(name, class, size string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}, StorageClassName: class,
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
		},
	}
	for _, c := range change {
		c(v)
	}
	return v
}

func classObject(name, provisioner string, mode storagev1.VolumeBindingMode, isDefault bool) *storagev1.StorageClass {
	c := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode,
		ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
	}
	if isDefault {
		c.Annotations = map[string]string{defaultClass: "true"}
	}
	return c
}

func storageNode(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{corev1.LabelHostname: name}, Annotations: map[string]string{api.LocalPathAnnotation: "/var/lib/petrel/local-path"},
	}}
}

func onNode(name string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{name}}},
		}}}}
	}
}

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	got, err := w.Get(context.Background(), claimObject(name, "-", "1"))
	if err != nil {
		w.t.Fatal(err)
	}
	return got.(*corev1.PersistentVolumeClaim)
}

func (w *world) volume(name string) *corev1.PersistentVolume {
	w.t.Helper()
	got, err := w.Get(context.Background(), &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil {
		w.t.Fatal(err)
	}
	return got.(*corev1.PersistentVolume)
}

// bound checks that a claim and a volume are each other's and both say so.
func (w *world) bound(claim, volume string) {
	w.t.Helper()
	c, v := w.claim(claim), w.volume(volume)
	size := c.Status.Capacity[corev1.ResourceStorage]
	if c.Spec.VolumeName != volume || c.Status.Phase != corev1.ClaimBound || size.IsZero() || c.Annotations[helpers.AnnBindCompleted] == "" {
		w.t.Errorf("claim %s: %+v %+v", claim, c.Spec, c.Status)
	}
	if v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != c.UID || v.Status.Phase != corev1.VolumeBound {
		w.t.Errorf("volume %s: %+v %+v", volume, v.Spec.ClaimRef, v.Status)
	}
}

// selectNode does the scheduler's part.
func (w *world) selectNode(claim, node string) {
	w.t.Helper()
	c := w.claim(claim)
	metav1.SetMetaDataAnnotation(&c.ObjectMeta, helpers.AnnSelectedNode, node)
	if _, err := w.Update(context.Background(), c); err != nil {
		w.t.Fatal(err)
	}
	w.settle(2 * time.Second)
}

func TestClaimsGetTheSmallestVolumeThatFits(t *testing.T) {
	inWorld(t, volumeBuilders, func(w *world) {
		w.create(claimObject("small", "", "3"))
		w.settle(time.Second)
		w.bound("small", "four")
		w.create(claimObject("large", "", "50"))
		w.settle(time.Second)
		if c := w.claim("large"); c.Status.Phase != corev1.ClaimPending {
			t.Errorf("%+v", c.Status)
		}
		w.create(volumeObject("later", "", "60"))
		w.settle(time.Second)
		w.bound("large", "later")
		if v := w.volume("two"); v.Status.Phase != corev1.VolumeAvailable {
			t.Errorf("two: %s", v.Status.Phase)
		}
		w.delete(w.claim("small"), metav1.DeletePropagationBackground)
		w.settle(5 * time.Second)
		if v := w.volume("four"); v.Status.Phase != corev1.VolumeReleased {
			t.Errorf("four: %s", v.Status.Phase)
		}
		w.create(claimObject("small", "", "3")) // another of that name: the old data is not its
		w.settle(time.Second)
		w.bound("small", "eight")
	}, volumeObject("two", "", "2"), volumeObject("eight", "", "8"), volumeObject("four", "", "4"), volumeObject("other", "fast", "3"),
		volumeObject("shared", "", "3", func(v *corev1.PersistentVolume) {
			v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
		}))
}

func TestPreboundVolumes(t *testing.T) {
	mine := volumeObject("mine", "", "9", func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "a"}
	})
	inWorld(t, volumeBuilders, func(w *world) {
		b := claimObject("b", "", "1")
		b.Spec.VolumeName = "wanted"
		w.create(b)
		w.create(claimObject("c", "", "1"))
		w.settle(time.Second)
		if c := w.claim("c"); c.Spec.VolumeName != "" {
			t.Errorf("c took %s", c.Spec.VolumeName)
		}
		w.create(claimObject("a", "", "1"))
		w.create(volumeObject("wanted", "", "1", func(v *corev1.PersistentVolume) {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: "b"}
		}))
		w.settle(time.Second)
		w.bound("a", "mine")
		w.bound("b", "wanted")
	}, mine)
}

// Writes that fail anywhere leave nothing that the next steps do not bring to an end, and no volume has two claims.
func TestBindingIsTakenUpAgain(t *testing.T) {
	var objects []api.Object
	for _, n := range []string{"a", "b", "c", "d"} {
		objects = append(objects, volumeObject("v-"+n, "", "1"), claimObject("c-"+n, "", "1"))
	}
	inWorld(t, nil, func(w *world) {
		w.stop()
		var calls atomic.Int32
		w.fault = func(verb string, _ api.Object) error {
			if n := calls.Add(1); verb != "get" && n%3 != 0 {
				return apierrors.NewInternalError(errors.New("no"))
			}
			return nil
		}
		w.start(volumeBuilders...)
		w.settle(time.Minute)
		w.stop()
		w.fault = nil
		w.start(volumeBuilders...) // and as another process
		w.settle(5 * time.Second)
		taken := map[string]bool{}
		for _, n := range []string{"a", "b", "c", "d"} {
			v := w.claim("c-" + n).Spec.VolumeName
			w.bound("c-"+n, v)
			taken[v] = true
		}
		if len(taken) != 4 {
			t.Errorf("volumes %v", taken)
		}
	}, objects...)
}

func TestClaimsInUseStay(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{
		NodeName: "n1", Volumes: []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "a"}}}},
	}}
	inWorld(t, volumeBuilders, func(w *world) {
		w.bound("a", "v")
		w.delete(w.claim("a"), metav1.DeletePropagationBackground)
		w.delete(w.volume("v"), metav1.DeletePropagationBackground)
		w.settle(time.Minute)
		if !w.exists(claimObject("a", "-", "1")) || !w.exists(volumeObject("v", "", "1")) {
			t.Fatal("deleted while a pod uses it")
		}
		p, err := w.Get(context.Background(), named(pod))
		if err != nil {
			t.Fatal(err)
		}
		p.(*corev1.Pod).Status.Phase = corev1.PodSucceeded
		if _, err := w.UpdateStatus(context.Background(), p); err != nil {
			t.Fatal(err)
		}
		w.settle(5 * time.Second)
		if w.exists(claimObject("a", "-", "1")) || w.exists(volumeObject("v", "", "1")) {
			t.Error("kept though nobody uses it")
		}
	}, pod, volumeObject("v", "", "1"), claimObject("a", "", "1"))
}

func TestLostClaims(t *testing.T) {
	inWorld(t, volumeBuilders, func(w *world) {
		w.bound("a", "v")
		v := w.volume("v")
		v.Finalizers = nil
		if _, err := w.Update(context.Background(), v); err != nil {
			t.Fatal(err)
		}
		w.stop()
		v = w.volume("v")
		v.Finalizers = nil
		if _, err := w.Update(context.Background(), v); err != nil {
			t.Fatal(err)
		}
		w.delete(v, metav1.DeletePropagationBackground)
		w.start(volumeBuilders...)
		w.settle(time.Second)
		if c := w.claim("a"); c.Status.Phase != corev1.ClaimLost {
			t.Errorf("%+v", c.Status)
		}
	}, volumeObject("v", "", "1"), claimObject("a", "", "1"))
}

func TestLocalPath(t *testing.T) {
	class := classObject("local-path", api.LocalPathProvisioner, storagev1.VolumeBindingWaitForFirstConsumer, true)
	inWorld(t, volumeBuilders, func(w *world) {
		w.create(claimObject("a", "-", "5Gi")) // by default
		w.settle(time.Second)
		if c := w.claim("a"); *c.Spec.StorageClassName != "local-path" || c.Spec.VolumeName != "" {
			t.Errorf("before there is a pod: %+v", c.Spec)
		}
		w.selectNode("a", "n1")
		name := "pvc-" + string(w.claim("a").UID)
		w.bound("a", name)
		v := w.volume(name)
		if v.Spec.Local.Path != "/var/lib/petrel/local-path/"+name || helpers.CheckNodeAffinity(v, map[string]string{corev1.LabelHostname: "n1"}) != nil ||
			helpers.CheckNodeAffinity(v, map[string]string{corev1.LabelHostname: "n2"}) == nil {
			t.Errorf("volume: %+v", v.Spec)
		}
		w.delete(w.claim("a"), metav1.DeletePropagationBackground)
		w.settle(5 * time.Second)
		v = w.volume(name)
		if v.DeletionTimestamp == nil || !slices.Equal(v.Finalizers, []string{api.LocalPathFinalizer}) {
			t.Fatalf("the node is to remove its directory: %+v", v.ObjectMeta)
		}
		w.delete(storageNode("n1"), metav1.DeletePropagationBackground)
		w.settle(5 * time.Second)
		if w.exists(v) {
			t.Error("the volume of a node that has gone is still there")
		}
	}, class, storageNode("n1"), storageNode("n2"))
}

func TestLocalPathRefuses(t *testing.T) {
	for want, change := range map[string]func(*corev1.PersistentVolumeClaim){
		"Block":         func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) },
		"ReadWriteMany": func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = corev1.ReadWriteMany },
		"selector":      func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} },
		"data source": func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "x"}
		},
		"WaitForFirstConsumer": func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = ptr.To("immediate") },
	} {
		claim := claimObject("a", "local-path", "1Gi")
		claim.Annotations = map[string]string{helpers.AnnSelectedNode: "n1"}
		change(claim)
		inWorld(t, volumeBuilders, func(w *world) {
			if v := w.claim("a").Spec.VolumeName; v != "" {
				t.Errorf("%s: got %s", want, v)
			}
			if !slices.ContainsFunc(w.told(), func(e string) bool { return strings.Contains(e, "ProvisioningFailed") && strings.Contains(e, want) }) {
				t.Errorf("no event tells of %s", want)
			}
		}, classObject("local-path", api.LocalPathProvisioner, storagev1.VolumeBindingWaitForFirstConsumer, false),
			classObject("immediate", api.LocalPathProvisioner, storagev1.VolumeBindingImmediate, false), storageNode("n1"), claim)
	}
}

// told are the events so far.
func (w *world) told() []string {
	var out []string
	for {
		select {
		case e := <-w.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// A claim that waits for its pod gets a volume of the node that was chosen, made by hand or by somebody else.
func TestStaticVolumesOfANode(t *testing.T) {
	inWorld(t, volumeBuilders, func(w *world) {
		w.create(claimObject("a", "disks", "1"))
		w.create(claimObject("b", "made", "1"))
		w.settle(time.Second)
		w.selectNode("a", "n2")
		w.bound("a", "d2")
		w.selectNode("b", "n1")
		if by := w.claim("b").Annotations[helpers.AnnStorageProvisioner]; by != "example.com/p" {
			t.Errorf("b is for %q to make", by)
		}
		w.delete(storageNode("n1"), metav1.DeletePropagationBackground)
		w.settle(2 * time.Second)
		if _, ok := w.claim("b").Annotations[helpers.AnnSelectedNode]; ok {
			t.Error("b still waits on a node that has gone")
		}
	}, storageNode("n1"), storageNode("n2"), volumeObject("d1", "disks", "1", onNode("n1")), volumeObject("d2", "disks", "2", onNode("n2")),
		classObject("disks", helpers.NotSupportedProvisioner, storagev1.VolumeBindingWaitForFirstConsumer, false),
		classObject("made", "example.com/p", storagev1.VolumeBindingWaitForFirstConsumer, false))
}

func TestEphemeralVolumesGetClaims(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{
		Volumes: []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
			VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: claimObject("", "", "1").Spec},
		}}}},
	}}
	inWorld(t, volumeBuilders, func(w *world) {
		w.bound("p-scratch", "v")
		c := w.claim("p-scratch")
		p, err := w.Get(context.Background(), named(pod))
		if err != nil {
			t.Fatal(err)
		}
		if owner := metav1.GetControllerOf(c); owner == nil || owner.UID != p.GetUID() || c.Labels["a"] != "b" {
			t.Errorf("claim %+v", c.ObjectMeta)
		}
	}, pod, volumeObject("v", "", "1"))
}

func TestSince(t *testing.T) {
	s, at := newSince(), time.Unix(100, 0)
	if d := s.mark(types.UID("a"), at); d != 0 {
		t.Errorf("first: %v", d)
	}
	if d := s.mark("a", at.Add(time.Second)); d != time.Second {
		t.Errorf("second: %v", d)
	}
	s.clear("a")
	if d := s.mark("a", at.Add(time.Second)); d != 0 {
		t.Errorf("anew: %v", d)
	}
}
