package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// unusedFor is how long a claim has to be seen unused before it goes: a pod that names it may be on its way to the cache.
const unusedFor = time.Second

// since remembers since when something has been so.
type since struct {
	mu    sync.Mutex
	times map[types.UID]time.Time
}

func newSince() *since { return &since{times: map[types.UID]time.Time{}} }

// mark notes the first time and tells how long ago it was.
func (s *since) mark(uid types.UID, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.times[uid]; !ok {
		s.times[uid] = now
	}
	return now.Sub(s.times[uid])
}

func (s *since) clear(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.times, uid)
}

func (c *volumes) stepClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) (time.Duration, error) {
	if claim.DeletionTimestamp != nil {
		return c.letClaimGo(ctx, claim)
	}
	if changed, missing := finalized(claim, claimProtection); missing {
		_, err := c.env.Client.Update(ctx, changed)
		return 0, err // the change brings it back here
	}
	if claim.Spec.VolumeName == "" {
		return 0, c.findVolume(ctx, claim)
	}
	return 0, c.checkBound(ctx, claim)
}

// letClaimGo takes the finalizer off a claim that is to be deleted, once no pod uses it.
func (c *volumes) letClaimGo(ctx context.Context, claim *corev1.PersistentVolumeClaim) (time.Duration, error) {
	changed, held := unfinalized(claim, claimProtection)
	if !held {
		c.unused.clear(claim.UID)
		return 0, nil
	}
	for _, pod := range byIndex[*corev1.Pod](c.pods, indexClaims, claim.Namespace+"/"+claim.Name) {
		if pod.Spec.NodeName != "" && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			c.unused.clear(claim.UID)
			return 0, nil // its end brings the claim back here
		}
	}
	if quiet := c.unused.mark(claim.UID, c.env.Clock.Now()); quiet < unusedFor {
		return unusedFor - quiet, nil
	}
	_, err := c.env.Client.Update(ctx, changed)
	if err == nil {
		c.unused.clear(claim.UID)
	}
	return 0, err
}

// findVolume gives a claim a volume that is there, or asks for one to be made.
func (c *volumes) findVolume(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil {
		if class := c.byDefault(); class != nil {
			changed := claim.DeepCopy()
			changed.Spec.StorageClassName = &class.Name
			_, err := c.env.Client.Update(ctx, changed)
			return err
		}
	}
	class := c.class(claim)
	node, err := c.selectedNode(ctx, claim)
	if err != nil {
		return err
	}
	waits := delayed(class) && node == nil
	v, err := helpers.FindMatchingVolume(claim, c.candidates(claim), node, nil, waits, false)
	switch {
	case err != nil:
		c.env.warn(claim, "FailedBinding", "%v", err)
		return nil
	case v != nil:
		return c.bind(ctx, v, claim)
	case waits:
		c.env.event(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
		return nil
	case class != nil && class.Provisioner != helpers.NotSupportedProvisioner:
		return c.askProvisioner(ctx, claim, class.Provisioner)
	case class == nil && ptr.Deref(claim.Spec.StorageClassName, "") != "":
		c.env.warn(claim, "ProvisioningFailed", "storageclass.storage.k8s.io %q not found", *claim.Spec.StorageClassName)
	default:
		c.env.event(claim, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	}
	return nil
}

// candidates are the volumes that serve in the ways that the claim asks for, and those that are its own already.
func (c *volumes) candidates(claim *corev1.PersistentVolumeClaim) []*corev1.PersistentVolume {
	var out []*corev1.PersistentVolume
	for _, v := range list[*corev1.PersistentVolume](c.volumes) {
		if helpers.IsVolumeBoundToClaim(v, claim) || helpers.CheckAccessModes(claim, v) {
			out = append(out, v)
		}
	}
	return out
}

// selectedNode is the node on which the claim's first pod is to run; nil when that is open. A node that has gone since
// is open again.
func (c *volumes) selectedNode(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*corev1.Node, error) {
	name := claim.Annotations[helpers.AnnSelectedNode]
	if name == "" {
		return nil, nil
	}
	if node, ok := lookup[*corev1.Node](c.nodes, types.NamespacedName{Name: name}); ok {
		return node, nil
	}
	node, err := c.env.Client.Get(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err == nil {
		return node.(*corev1.Node), nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, err
	}
	changed := claim.DeepCopy()
	delete(changed.Annotations, helpers.AnnSelectedNode)
	if _, err := c.env.Client.Update(ctx, changed); err != nil {
		return nil, err
	}
	return nil, nil
}

// askProvisioner names on the claim who is to make a volume for it.
func (c *volumes) askProvisioner(ctx context.Context, claim *corev1.PersistentVolumeClaim, provisioner string) error {
	if claim.Annotations[helpers.AnnStorageProvisioner] == provisioner {
		return nil
	}
	changed := claim.DeepCopy()
	metav1.SetMetaDataAnnotation(&changed.ObjectMeta, helpers.AnnStorageProvisioner, provisioner)
	metav1.SetMetaDataAnnotation(&changed.ObjectMeta, helpers.AnnBetaStorageProvisioner, provisioner)
	if _, err := c.env.Client.Update(ctx, changed); err != nil {
		return err
	}
	c.env.event(claim, "ExternalProvisioning", "waiting for a volume to be created, either by the provisioner %q or by an administrator", provisioner)
	return nil
}

// bind makes volume and claim each other's: the volume first.
func (c *volumes) bind(ctx context.Context, v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	named, changed, err := helpers.GetBindVolumeToClaim(v, claim)
	if err != nil {
		return fmt.Errorf("refer to claim: %w", err)
	}
	if changed {
		stored, err := c.env.Client.Update(ctx, named)
		if err != nil {
			return err
		}
		named = stored.(*corev1.PersistentVolume)
	}
	if err := c.tellVolume(ctx, named, corev1.VolumeBound, ""); err != nil {
		return err
	}
	bound := claim.DeepCopy()
	if bound.Spec.VolumeName == "" {
		bound.Spec.VolumeName = v.Name
		metav1.SetMetaDataAnnotation(&bound.ObjectMeta, helpers.AnnBoundByController, "yes")
	}
	if bound.Annotations[helpers.AnnBindCompleted] == "" {
		metav1.SetMetaDataAnnotation(&bound.ObjectMeta, helpers.AnnBindCompleted, "yes")
		stored, err := c.env.Client.Update(ctx, bound)
		if err != nil {
			return err
		}
		bound = stored.(*corev1.PersistentVolumeClaim)
	}
	return c.tellClaim(ctx, bound, named)
}

// checkBound follows a claim that names its volume.
func (c *volumes) checkBound(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	v, ok := lookup[*corev1.PersistentVolume](c.volumes, types.NamespacedName{Name: claim.Spec.VolumeName})
	completed := claim.Annotations[helpers.AnnBindCompleted] != ""
	if !ok {
		fresh, err := c.env.Client.Get(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: claim.Spec.VolumeName}})
		if apierrors.IsNotFound(err) {
			if completed {
				return c.loseClaim(ctx, claim, "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
			}
			return nil // the volume that its user named may come yet
		}
		if err != nil {
			return err
		}
		v = fresh.(*corev1.PersistentVolume)
	}
	ref := v.Spec.ClaimRef
	switch {
	case ref == nil || ref.Name == claim.Name && ref.Namespace == claim.Namespace && (ref.UID == "" || ref.UID == claim.UID):
		return c.bind(ctx, v, claim)
	case completed:
		return c.loseClaim(ctx, claim, "Bound claim's volume belongs to another claim.")
	default:
		c.env.warn(claim, "FailedBinding", "volume %q already bound to a different claim.", v.Name)
		return nil
	}
}

func (c *volumes) loseClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim, why string) error {
	if claim.Status.Phase == corev1.ClaimLost {
		return nil
	}
	changed := claim.DeepCopy()
	changed.Status.Phase = corev1.ClaimLost
	changed.Status.AccessModes, changed.Status.Capacity = nil, nil
	if _, err := c.env.Client.UpdateStatus(ctx, changed); err != nil {
		return err
	}
	c.env.warn(claim, "ClaimLost", "%s", why)
	return nil
}

// tellClaim writes a bound claim's status.
func (c *volumes) tellClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	size := v.Spec.Capacity[corev1.ResourceStorage]
	have := claim.Status.Capacity[corev1.ResourceStorage]
	if claim.Status.Phase == corev1.ClaimBound && !have.IsZero() {
		return nil // a capacity that grew is told by who made it grow
	}
	changed := claim.DeepCopy()
	changed.Status.Phase = corev1.ClaimBound
	changed.Status.AccessModes = v.Spec.AccessModes
	changed.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: size}
	_, err := c.env.Client.UpdateStatus(ctx, changed)
	return err
}
