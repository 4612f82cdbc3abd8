package upstream

import (
	"context"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/utils/ptr"
)

func find(t *testing.T, kind string) *Kind {
	t.Helper()
	i := slices.IndexFunc(Kinds(), func(k *Kind) bool { return k.gvk.Kind == kind })
	if i < 0 {
		t.Fatalf("no %s", kind)
	}
	return Kinds()[i]
}

// filled are objects with a value in every selectable field.
var filled = map[string]runtime.Object{
	"Namespace": &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}},
	"Node":      &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{Unschedulable: true}},
	"Pod": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "s"},
		Spec: corev1.PodSpec{NodeName: "node", RestartPolicy: corev1.RestartPolicyNever, SchedulerName: "sched", ServiceAccountName: "sa", HostNetwork: true},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, NominatedNodeName: "nom", PodIP: "127.42.0.1",
			PodIPs: []corev1.PodIP{{IP: "127.42.0.1"}}}},
	"Service": &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "s"},
		Spec: corev1.ServiceSpec{ClusterIP: "127.43.0.9", ClusterIPs: []string{"127.43.0.9"}, Type: corev1.ServiceTypeNodePort}},
	"Secret": &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "s"}, Type: corev1.SecretTypeTLS},
	"Event": &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "s"}, Reason: "why", Type: "Warning", ReportingController: "rc",
		InvolvedObject: corev1.ObjectReference{Kind: "K", Namespace: "s", Name: "o", UID: "u", APIVersion: "v1", ResourceVersion: "7", FieldPath: "f"}},
	"ReplicaSet":            &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "s"}, Status: appsv1.ReplicaSetStatus{Replicas: 3}},
	"Job":                   &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "s"}, Status: batchv1.JobStatus{Succeeded: 3}},
	"PersistentVolume":      &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "n"}},
	"PersistentVolumeClaim": &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "n", Namespace: "s"}},
	"CertificateSigningRequest": &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "n"},
		Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: "example.com/signer"}},
}

type attrs func(runtime.Object) (labels.Set, fields.Set, error)

func TestFieldsAreUpstreams(t *testing.T) {
	upstreams := map[string]attrs{
		"Namespace": namespace.GetAttrs, "Node": node.GetAttrs, "Pod": pod.GetAttrs, "Service": service.GetAttrs,
		"Secret": secret.GetAttrs, "Event": event.GetAttrs, "ReplicaSet": replicaset.GetAttrs, "Job": job.GetAttrs,
		"CertificateSigningRequest": certificates.GetAttrs, "PersistentVolume": persistentvolume.GetAttrs, "PersistentVolumeClaim": persistentvolumeclaim.GetAttrs,
	}
	for kind, get := range upstreams {
		k, obj := find(t, kind), filled[kind]
		internal, err := toInternal(obj.DeepCopyObject(), k.gvk.Group)
		if err != nil {
			t.Fatal(err)
		}
		_, want, err := get(internal)
		if err != nil {
			t.Fatal(err)
		}
		got := k.Fields(obj)
		for name, v := range want {
			if name == "metadata.name" || name == "metadata.namespace" {
				continue
			}
			if g, ok := got[name]; !ok || g != v {
				t.Errorf("%s %s: got %q, upstream has %q", kind, name, g, v)
			}
			if !slices.Contains(k.Selectable(), name) {
				t.Errorf("%s: %s is not selectable", kind, name)
			}
		}
		if len(got) != len(k.Selectable()) {
			t.Errorf("%s: %d fields, %d selectable", kind, len(got), len(k.Selectable()))
		}
	}
}

func TestEveryKindPrints(t *testing.T) {
	for _, k := range Kinds() {
		columns, err := k.Columns()
		if err != nil || len(columns) < 2 || columns[0].Name == "" {
			t.Errorf("%s: columns %v, %v", k.gvk.Kind, columns, err)
			continue
		}
		cells, _, err := k.Cells(k.New())
		if err != nil || len(cells) != len(columns) {
			t.Errorf("%s: %d cells under %d columns, %v", k.gvk.Kind, len(cells), len(columns), err)
		}
	}
}

func TestCreatePreparesAndValidates(t *testing.T) {
	k := find(t, "Pod")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "Has.Dots.and-Capitals", Namespace: "s", UID: "u", CreationTimestamp: metav1.Now()},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	k.Default(p)
	_, err := k.Create(context.Background(), Call{Namespace: "s"}, p.DeepCopy())
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "metadata.name") {
		t.Fatalf("bad name: %v", err)
	}
	p.Name = "has.dots"
	var warned []string
	out, err := k.Create(context.Background(), Call{Namespace: "s", Warn: func(s string) { warned = append(warned, s) }}, p)
	if err != nil {
		t.Fatal(err)
	}
	got := out.(*corev1.Pod)
	if got.Status.Phase != corev1.PodPending || got.Status.QOSClass != corev1.PodQOSBestEffort || got.Generation != 1 || got.Kind != "Pod" {
		t.Errorf("got %+v", got)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "DNS label") {
		t.Errorf("warned %v", warned)
	}
	if _, err := k.Create(context.Background(), Call{Namespace: "other"}, got.DeepCopy()); !apierrors.IsBadRequest(err) {
		t.Errorf("other namespace: %v", err)
	}
}

func TestUpdateKeepsWhatTheSubresourceDoesNotWrite(t *testing.T) {
	k := find(t, "Pod")
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "s", UID: "u", ResourceVersion: "1", CreationTimestamp: metav1.Now()},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	k.Default(old)
	next := old.DeepCopy()
	next.Spec.Containers[0].Image, next.Status.Message = "j", "hello"
	out, err := k.Update(context.Background(), Call{Namespace: "s", Subresource: Status}, next.DeepCopy(), old.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	if p := out.(*corev1.Pod); p.Spec.Containers[0].Image != "i" || p.Status.Message != "hello" {
		t.Errorf("status: %+v", p)
	}
	if out, err = k.Update(context.Background(), Call{Namespace: "s"}, next.DeepCopy(), old.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if p := out.(*corev1.Pod); p.Spec.Containers[0].Image != "j" || p.Status.Message != "" {
		t.Errorf("spec: %+v", p)
	}
	if k.ResetFields("")["v1"] == nil || k.ResetFields(Status)["v1"].String() == k.ResetFields("")["v1"].String() {
		t.Error("the same fields are reset for both")
	}
}

func TestDeletion(t *testing.T) {
	k := find(t, "Pod")
	bound := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "s"}, Spec: corev1.PodSpec{NodeName: "n", TerminationGracePeriodSeconds: ptr.To[int64](7)}}
	opts := &metav1.DeleteOptions{}
	graceful, pending, err := k.BeforeDelete(context.Background(), Call{Namespace: "s"}, bound, opts)
	if err != nil || !graceful || pending || *opts.GracePeriodSeconds != 7 || *bound.DeletionGracePeriodSeconds != 7 {
		t.Fatalf("graceful %v, pending %v, %v, %+v", graceful, pending, err, bound.ObjectMeta)
	}
	if _, pending, err = k.BeforeDelete(context.Background(), Call{Namespace: "s"}, bound, &metav1.DeleteOptions{}); err != nil || !pending {
		t.Errorf("again: pending %v, %v", pending, err)
	}
	cm := find(t, "ConfigMap")
	if graceful, _, err = cm.BeforeDelete(context.Background(), Call{Namespace: "s"}, cm.New(), &metav1.DeleteOptions{}); err != nil || graceful {
		t.Errorf("config map: graceful %v, %v", graceful, err)
	}
	other := types.UID("other")
	_, _, err = cm.BeforeDelete(context.Background(), Call{}, cm.New(), &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	if !apierrors.IsConflict(err) {
		t.Errorf("precondition: %v", err)
	}
	for kind, want := range map[string]bool{"Job": true, "Deployment": false, "Pod": false} {
		if got := find(t, kind).Orphans(context.Background()); got != want {
			t.Errorf("%s orphans: %v", kind, got)
		}
	}
}

func TestEndpointsMayBeLoopback(t *testing.T) {
	k := find(t, "EndpointSlice")
	slice := func(addr string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: "e", Namespace: "s", UID: "u", ResourceVersion: "1", CreationTimestamp: metav1.Now()},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{addr}}},
		}
	}
	for addr, ok := range map[string]bool{"127.42.0.7": true, "10.0.0.1": true, "0.0.0.0": false, "224.0.0.1": false, "169.254.1.1": false, "x": false} {
		for _, loopback := range []bool{true, false} {
			call := Call{Namespace: "s", LoopbackPods: loopback}
			ok := ok && (loopback || addr != "127.42.0.7")
			obj := slice(addr)
			obj.ResourceVersion = ""
			k.Default(obj)
			if _, err := k.Create(context.Background(), call, obj); (err == nil) != ok {
				t.Errorf("create with %s, loopback pods %v: %v", addr, loopback, err)
			}
			next, old := slice(addr), slice("10.0.0.2")
			k.Default(next)
			k.Default(old)
			if _, err := k.Update(context.Background(), call, next, old); (err == nil) != ok {
				t.Errorf("update to %s, loopback pods %v: %v", addr, loopback, err)
			}
		}
	}
}
