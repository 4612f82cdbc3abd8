package csi

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/csi/csitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

// world is a node with a driver.
type world struct {
	*testing.T
	*Drivers
	client *fake.Clientset
	peer   *csitest.Driver
	stop   func()
}

func needMounts(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); errors.Is(err, unix.EPERM) {
		t.Skip("EPERM: this process may not mount")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "ptl-csi-") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u1"}}
	w := &world{T: t, client: fake.NewClientset(append(objects, node)...), peer: csitest.New(t, "test.csi.example")}
	w.Drivers, err = New(Config{Client: w.client, NodeName: "n1", RegistryDir: dir + "/reg", StageDir: dir + "/stage", PodsDir: dir + "/pods"})
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Drivers.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
		w.stop = func() {}
	}
}

// restart is another worker on the same node.
func (w *world) restart() {
	w.Helper()
	w.stop()
	var err error
	if w.Drivers, err = New(w.Drivers.cfg); err != nil {
		w.Fatal(err)
	}
	w.start()
	w.registered()
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func (w *world) registered() {
	w.Helper()
	w.eventually("the driver to be registered", func() bool { _, err := w.driver(w.peer.Name); return err == nil })
}

func (w *world) serve() {
	w.Helper()
	w.peer.Serve(w.T, w.cfg.RegistryDir)
	w.registered()
}

// unattached is the CSIDriver of drivers whose volumes need no attaching.
func unattached(change ...func(*storagev1.CSIDriverSpec)) *storagev1.CSIDriver {
	d := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "test.csi.example"}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr.To(false)}}
	for _, c := range change {
		c(&d.Spec)
	}
	return d
}

// volume is one of a pod's, by a claim.
func (w *world) volume(pod, handle string) *Volume {
	return &Volume{
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: pod, UID: "uid-" + "x"}}, Name: "v",
		Dir: filepath.Join(w.cfg.PodsDir, pod, "volumes", "v"),
		Persistent: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + handle}, Spec: corev1.PersistentVolumeSpec{
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "test.csi.example", VolumeHandle: handle, VolumeAttributes: map[string]string{"a": "b"}}},
		}},
	}
}

func (w *world) publish(v *Volume) Published {
	w.Helper()
	p, err := w.Publish(w.Context(), v)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func (w *world) unpublish(v *Volume) {
	w.Helper()
	if err := w.Unpublish(w.Context(), filepath.Dir(v.Dir)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) calls(want ...string) {
	w.Helper()
	if got := w.peer.Calls(); !slices.Equal(got, want) {
		w.Errorf("calls %v, want %v", got, want)
	}
}

func TestRegistration(t *testing.T) {
	w := newWorld(t)
	w.peer.Topology = map[string]string{"zone": "z1"}
	w.serve()
	w.eventually("the driver to be told", func() bool { s := w.peer.Registered(); return s != nil && s.PluginRegistered })
	entry := func() *storagev1.CSINodeDriver {
		n, err := w.client.StorageV1().CSINodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil || len(n.Spec.Drivers) == 0 {
			return nil
		}
		return &n.Spec.Drivers[0]
	}
	if e := entry(); e == nil || e.NodeID != "node-id" || !slices.Equal(e.TopologyKeys, []string{"zone"}) || *e.Allocatable.Count != 7 {
		t.Errorf("CSINode entry %+v", e)
	}
	if n, err := w.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{}); err != nil || n.Labels["zone"] != "z1" {
		t.Errorf("node labels %v, %v", n.Labels, err)
	}
	w.peer.Stop() // and its socket goes
	w.eventually("the driver to leave", func() bool { _, err := w.driver(w.peer.Name); return err != nil && entry() == nil })
}

func TestRegistrationRefuses(t *testing.T) {
	for want, change := range map[string]func(*csitest.Driver){
		"type":     func(d *csitest.Driver) { d.Type = "DevicePlugin" },
		"versions": func(d *csitest.Driver) { d.Versions = []string{"0.3.0"} },
		"no id":    func(d *csitest.Driver) { d.NodeID = "" },
	} {
		w := newWorld(t)
		change(w.peer)
		w.peer.Serve(t, w.cfg.RegistryDir)
		w.eventually("a refusal by "+want, func() bool {
			s := w.peer.Registered()
			return s != nil && !s.PluginRegistered && strings.Contains(s.Error, want)
		})
		if _, err := w.Publish(t.Context(), w.volume("p", "h")); !errors.Is(err, ErrNotRegistered) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// A volume is staged once for all pods of the node, and unstaged when the last has let go, whichever worker is there.
func TestPublish(t *testing.T) {
	needMounts(t)
	w := newWorld(t, unattached(func(s *storagev1.CSIDriverSpec) { s.PodInfoOnMount = ptr.To(true) }))
	w.serve()
	one, two := w.volume("one", "h/../1"), w.volume("two", "h/../1")
	w.peer.Fail("publish", status.Error(codes.Internal, "no"))
	if _, err := w.Publish(t.Context(), one); err == nil || !strings.Contains(err.Error(), "test.csi.example: publish volume") {
		t.Errorf("error %v", err)
	}
	w.peer.Fail("publish", nil)
	at := w.publish(one)
	if again := w.publish(one); again != at {
		t.Errorf("published at %+v and %+v", at, again)
	}
	if err := os.WriteFile(at.Path+"/f", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	two.ReadOnly = true
	other := w.publish(two)
	if content, err := os.ReadFile(other.Path + "/f"); err != nil || string(content) != "x" {
		t.Errorf("the other pod reads %q, %v", content, err)
	}
	if err := os.WriteFile(other.Path+"/g", nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("the other pod writes: %v", err)
	}
	attributes := w.peer.Published().GetVolumeContext()
	for key, want := range map[string]string{"a": "b", "csi.storage.k8s.io/pod.name": "two", "csi.storage.k8s.io/ephemeral": "false"} {
		if attributes[key] != want {
			t.Errorf("attribute %s = %q", key, attributes[key])
		}
	}
	w.calls("stage", "publish", "stage", "publish", "stage", "publish", "stage", "publish")
	w.unpublish(one)
	w.restart()
	w.peer.Fail("unstage", status.Error(codes.Internal, "busy"))
	if err := w.Unpublish(t.Context(), filepath.Dir(two.Dir)); err == nil || !strings.Contains(err.Error(), "unstage volume") {
		t.Errorf("error %v", err)
	}
	w.peer.Fail("unstage", nil)
	w.unpublish(two)
	w.unpublish(two) // nothing is left to do
	if got := w.peer.Calls()[8:]; !slices.Equal(got, []string{"unpublish", "unpublish", "unstage", "unpublish", "unstage"}) {
		t.Errorf("calls %v", got)
	}
	if content, err := os.ReadFile(w.peer.Volume("h/../1") + "/f"); err != nil || string(content) != "x" {
		t.Errorf("the volume has %q, %v", content, err)
	}
	if left, _ := filepath.Glob(w.cfg.StageDir + "/*/*"); len(left) > 0 {
		t.Errorf("staging directories are left: %v", left)
	}
}

func TestInlineVolumes(t *testing.T) {
	needMounts(t)
	w := newWorld(t, unattached(func(s *storagev1.CSIDriverSpec) {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral}
	}))
	w.serve()
	v := w.volume("p", "h")
	if _, err := w.Publish(t.Context(), v); err == nil || !strings.Contains(err.Error(), "mode Persistent") {
		t.Errorf("error %v", err)
	}
	v.Persistent, v.Inline = nil, &corev1.CSIVolumeSource{Driver: "test.csi.example", VolumeAttributes: map[string]string{"c": "d"}}
	w.publish(v)
	if r := w.peer.Published(); !strings.HasPrefix(r.GetVolumeId(), "csi-") || r.GetStagingTargetPath() != "" || !maps.Equal(r.GetVolumeContext(), map[string]string{"c": "d"}) {
		t.Errorf("published %v", r)
	}
	w.unpublish(v)
	w.calls("publish", "unpublish")
}

func TestWaitsForAttachment(t *testing.T) {
	needMounts(t)
	w := newWorld(t)
	w.serve()
	v := w.volume("p", "h")
	a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: AttachmentName("h", "test.csi.example", "n1")}}
	type result struct {
		p   Published
		err error
	}
	done := make(chan result, 1)
	go func() {
		p, err := w.Publish(t.Context(), v)
		done <- result{p, err}
	}()
	if _, err := w.client.StorageV1().VolumeAttachments().Create(t.Context(), a, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	a.Status = storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"device": "/dev/x"}}
	if _, err := w.client.StorageV1().VolumeAttachments().UpdateStatus(t.Context(), a, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err != nil {
		t.Fatal(r.err)
	}
	if got := w.peer.Published().GetPublishContext()["device"]; got != "/dev/x" {
		t.Errorf("device %q", got)
	}
	w.unpublish(v)
}

// What cannot be taken back now stays written down, and what is not understood is not deleted.
func TestUnpublishIsCareful(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(w.cfg.PodsDir, "p", "volumes")
	v := filepath.Join(dir, "v")
	if err := os.MkdirAll(v, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := w.Unpublish(t.Context(), dir); err != nil { // of other kinds
		t.Error(err)
	}
	if err := w.Unpublish(t.Context(), filepath.Join(w.cfg.PodsDir, "none")); err != nil {
		t.Error(err)
	}
	if err := (&record{Driver: "away", Handle: "h"}).write(v); err != nil {
		t.Fatal(err)
	}
	if err := w.Unpublish(t.Context(), dir); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("error %v", err)
	}
	for _, bad := range []string{"", "{", `{"driver":"d"}`} {
		if err := os.WriteFile(filepath.Join(v, recordName), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Unpublish(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "no record") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestGivesAway(t *testing.T) {
	file, none := storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy
	with := func(p *storagev1.FSGroupPolicy) *storagev1.CSIDriver {
		return unattached(func(s *storagev1.CSIDriverSpec) { s.FSGroupPolicy = p })
	}
	rwo, many := accessMode(nil), accessMode([]corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany})
	for _, tc := range []struct {
		req  request
		want bool
	}{
		{request{mode: rwo}, false}, {request{mode: rwo, fsType: "ext4"}, true}, {request{mode: many, fsType: "ext4"}, false},
		{request{mode: many, object: with(&file)}, true}, {request{mode: rwo, fsType: "ext4", object: with(&none)}, false},
	} {
		if got := givesAway(&tc.req); got != tc.want {
			t.Errorf("%+v: %v", tc.req, got)
		}
	}
}

// TestSecrets are told to the driver, with the call that each is for, and lie nowhere.
func TestSecrets(t *testing.T) {
	needMounts(t)
	secret := func(namespace, name string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{"from": []byte("hidden-" + name)}}
	}
	w := newWorld(t, unattached(func(s *storagev1.CSIDriverSpec) {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent}
	}), secret("drivers", "stage"), secret("drivers", "publish"), secret("ns", "inline"))
	w.serve()
	v := w.volume("p", "h")
	v.Persistent.Spec.CSI.NodeStageSecretRef = &corev1.SecretReference{Namespace: "drivers", Name: "missing"}
	v.Persistent.Spec.CSI.NodePublishSecretRef = &corev1.SecretReference{Namespace: "drivers", Name: "publish"}
	if _, err := w.Publish(t.Context(), v); err == nil || !strings.Contains(err.Error(), "get secret drivers/missing for csi driver") {
		t.Errorf("error %v", err)
	}
	v.Persistent.Spec.CSI.NodeStageSecretRef.Name = "stage"
	w.publish(v)
	if staged, published := w.peer.Staged().GetSecrets(), w.peer.Published().GetSecrets(); staged["from"] != "hidden-stage" || published["from"] != "hidden-publish" {
		t.Errorf("the driver is told %v to stage and %v to publish", staged, published)
	}
	if content, err := os.ReadFile(filepath.Join(v.Dir, recordName)); err != nil || strings.Contains(string(content), "hidden") {
		t.Errorf("written down: %s, %v", content, err)
	}
	w.unpublish(v)
	v.Persistent, v.Inline = nil, &corev1.CSIVolumeSource{Driver: "test.csi.example", NodePublishSecretRef: &corev1.LocalObjectReference{Name: "inline"}}
	w.publish(v)
	if got := w.peer.Published().GetSecrets(); got["from"] != "hidden-inline" {
		t.Errorf("the driver is told %v for a pod's own volume", got)
	}
	w.unpublish(v)
}
