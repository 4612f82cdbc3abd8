package csi

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// attachPoll is how often a volume is looked at that is being attached, attachWait for how long; then the pod's volumes
// are tried again from the start.
const (
	attachPoll = 200 * time.Millisecond
	attachWait = 10 * time.Second
)

// Volume is what a pod is to have.
type Volume struct {
	Pod *corev1.Pod
	// Dir is the volume's own directory below the pod's.
	Dir string
	// Persistent is the volume behind a claim; Inline is one that lives as long as the pod. One of them is set.
	Persistent *corev1.PersistentVolume
	Inline     *corev1.CSIVolumeSource
	// Name is the volume's name in the pod.
	Name     string
	ReadOnly bool
}

// Published is where a volume is, and whether its files are to be given to the pod's group.
type Published struct {
	Path     string
	GiveAway bool
}

// request is a volume in the driver's terms.
type request struct {
	driver, handle string
	attributes     map[string]string
	fsType         string
	flags          []string
	mode           csi.VolumeCapability_AccessMode_Mode
	object         *storagev1.CSIDriver // nil: the API knows none
	publishContext map[string]string
	// What drivers need to get at the volume; nil: nothing. It goes to them alone, and is written down nowhere.
	stageSecret, publishSecret *corev1.SecretReference
}

// Publish has a driver mount a volume for a pod. Doing it again is no harm.
func (d *Drivers) Publish(ctx context.Context, v *Volume) (Published, error) {
	req, err := d.request(ctx, v)
	if err != nil {
		return Published{}, err
	}
	r, err := d.driver(req.driver)
	if err != nil {
		return Published{}, err
	}
	if v.Persistent != nil && attached(req.object) {
		if req.publishContext, err = d.awaitAttached(ctx, req, v.Persistent.Name); err != nil {
			return Published{}, err
		}
	}
	rec := &record{Driver: req.driver, Handle: req.handle, Attached: v.Persistent != nil && attached(req.object)}
	defer d.alone(rec.key())()
	if v.Persistent != nil && r.stages() {
		rec.Stage = d.stage(req.driver, req.handle)
	}
	if err := os.MkdirAll(v.Dir, 0o755); err != nil {
		return Published{}, err
	}
	if err := rec.write(v.Dir); err != nil {
		return Published{}, err
	}
	d.noteRecords()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if rec.Stage != "" {
		if err := d.stageVolume(ctx, r, req, rec.Stage); err != nil {
			return Published{}, err
		}
	}
	secrets, err := d.secrets(ctx, req.publishSecret)
	if err != nil {
		return Published{}, err
	}
	target := filepath.Join(v.Dir, targetName)
	_, err = r.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: req.handle, PublishContext: req.publishContext, StagingTargetPath: rec.Stage, TargetPath: target,
		VolumeCapability: req.capability(), Readonly: v.ReadOnly, VolumeContext: req.attributes, Secrets: secrets,
	})
	if err != nil {
		return Published{}, fmt.Errorf("csi driver %s: publish volume: %w", r.name, err)
	}
	if _, err := os.Stat(target); err != nil {
		return Published{}, fmt.Errorf("csi driver %s published nothing: %w", r.name, err)
	}
	return Published{Path: target, GiveAway: !v.ReadOnly && givesAway(req)}, nil
}

// request reads what a pod asks in the driver's terms.
func (d *Drivers) request(ctx context.Context, v *Volume) (*request, error) {
	req := &request{mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, attributes: map[string]string{}}
	if s := v.Inline; s != nil {
		if s.NodePublishSecretRef != nil {
			req.publishSecret = &corev1.SecretReference{Namespace: v.Pod.Namespace, Name: s.NodePublishSecretRef.Name}
		}
		req.driver, req.fsType = s.Driver, ptr.Deref(s.FSType, "")
		req.handle = "csi-" + hash(string(v.Pod.UID), "\x00", v.Name)
		v.ReadOnly = v.ReadOnly || ptr.Deref(s.ReadOnly, false)
		maps.Copy(req.attributes, s.VolumeAttributes)
	} else {
		s := v.Persistent.Spec.CSI
		req.publishSecret, req.stageSecret = s.NodePublishSecretRef, s.NodeStageSecretRef
		req.driver, req.handle, req.fsType, req.flags = s.Driver, s.VolumeHandle, s.FSType, v.Persistent.Spec.MountOptions
		req.mode = accessMode(v.Persistent.Spec.AccessModes)
		v.ReadOnly = v.ReadOnly || s.ReadOnly
		maps.Copy(req.attributes, s.VolumeAttributes)
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	object, err := d.cfg.Client.StorageV1().CSIDrivers().Get(ctx, req.driver, metav1.GetOptions{})
	switch {
	case err == nil:
		req.object = object
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("get CSIDriver: %w", err)
	}
	return req, req.describe(v)
}

// describe adds what the driver wants to be told of the pod, and checks that it serves volumes of this kind.
func (req *request) describe(v *Volume) error {
	modes := []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	if req.object != nil && len(req.object.Spec.VolumeLifecycleModes) > 0 {
		modes = req.object.Spec.VolumeLifecycleModes
	}
	want := storagev1.VolumeLifecyclePersistent
	if v.Inline != nil {
		want = storagev1.VolumeLifecycleEphemeral
	}
	if !slices.Contains(modes, want) {
		return fmt.Errorf("csi driver %s does not serve volumes of mode %s", req.driver, want)
	}
	if req.object != nil && ptr.Deref(req.object.Spec.PodInfoOnMount, false) {
		const prefix = "csi.storage.k8s.io/"
		req.attributes[prefix+"pod.name"], req.attributes[prefix+"pod.namespace"] = v.Pod.Name, v.Pod.Namespace
		req.attributes[prefix+"pod.uid"], req.attributes[prefix+"serviceAccount.name"] = string(v.Pod.UID), v.Pod.Spec.ServiceAccountName
		req.attributes[prefix+"ephemeral"] = fmt.Sprint(v.Inline != nil)
	}
	return nil
}

// attached tells whether volumes of a driver are attached to the node before they can be mounted; so they are unless the
// driver says otherwise.
func attached(object *storagev1.CSIDriver) bool {
	return object == nil || ptr.Deref(object.Spec.AttachRequired, true)
}

// givesAway tells whether the pod's group is to own the files, by the driver's policy.
func givesAway(req *request) bool {
	policy := storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy
	if req.object != nil && req.object.Spec.FSGroupPolicy != nil {
		policy = *req.object.Spec.FSGroupPolicy
	}
	switch policy {
	case storagev1.FileFSGroupPolicy:
		return true
	case storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy:
		return req.fsType != "" && req.mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	}
	return false
}

func accessMode(modes []corev1.PersistentVolumeAccessMode) csi.VolumeCapability_AccessMode_Mode {
	switch {
	case slices.Contains(modes, corev1.ReadWriteMany):
		return csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	case slices.Contains(modes, corev1.ReadOnlyMany) && slices.Contains(modes, corev1.ReadWriteOnce):
		return csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER
	case slices.Contains(modes, corev1.ReadOnlyMany):
		return csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	}
	return csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
}

func (req *request) capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: req.mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: req.fsType, MountFlags: req.flags}},
	}
}

func (d *Drivers) stageVolume(ctx context.Context, r *driver, req *request, at string) error {
	secrets, err := d.secrets(ctx, req.stageSecret)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(at, dirMode); err != nil {
		return err
	}
	_, err = r.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
		VolumeId: req.handle, PublishContext: req.publishContext, StagingTargetPath: at, VolumeCapability: req.capability(), VolumeContext: req.attributes, Secrets: secrets,
	})
	if err != nil {
		return fmt.Errorf("csi driver %s: stage volume: %w", r.name, err)
	}
	return nil
}

// AttachmentName names the VolumeAttachment of a volume on a node, as Kubernetes' tools do.
func AttachmentName(handle, driver, node string) string { return "csi-" + hash(handle, driver, node) }

// awaitAttached waits for a volume to be attached to the node, and answers what its mounting has to be told of that.
func (d *Drivers) awaitAttached(ctx context.Context, req *request, volume string) (map[string]string, error) {
	name := AttachmentName(req.handle, req.driver, d.cfg.NodeName)
	for end := time.Now().Add(attachWait); ; {
		a, err := d.attachment(ctx, name)
		if err != nil {
			return nil, err
		}
		if a != nil && a.Status.Attached && a.DeletionTimestamp == nil {
			return a.Status.AttachmentMetadata, nil
		}
		if time.Now().After(end) {
			why := ""
			if a != nil && a.Status.AttachError != nil {
				why = ": " + a.Status.AttachError.Message
			}
			return nil, fmt.Errorf("volume %s is not attached to the node yet%s", volume, why)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(attachPoll):
		}
	}
}

func (d *Drivers) attachment(ctx context.Context, name string) (*storagev1.VolumeAttachment, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	a, err := d.cfg.Client.StorageV1().VolumeAttachments().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get VolumeAttachment: %w", err)
	}
	return a, nil
}
