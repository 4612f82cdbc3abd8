package scheduler

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	helpers "k8s.io/component-helpers/storage/volume"
)

var (
	claimsResource  = corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
	volumesResource = corev1.SchemeGroupVersion.WithResource("persistentvolumes")
	classesResource = storagev1.SchemeGroupVersion.WithResource("storageclasses")
)

// Volumes is what a pod's claims ask of its node, read at the time of an attempt. It never changes.
type Volumes struct {
	// hopeless is why no node will do; empty when some may.
	hopeless string
	bound    []*corev1.PersistentVolume
	open     []openClaim
}

// openClaim is a claim whose volume is chosen with the pod's node.
type openClaim struct {
	claim *corev1.PersistentVolumeClaim
	class *storagev1.StorageClass
	// volumes are those that may be the claim's.
	volumes []*corev1.PersistentVolume
}

// storage is where claims, volumes and classes are looked up.
type storage struct {
	claims, volumes, classes cache.Indexer
}

// claimsOf names the claims that a pod mounts.
func claimsOf(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, pod.Name+"-"+v.Name)
		}
	}
	return names
}

func get[T any](indexer cache.Indexer, key string) (T, bool) {
	var none T
	found, ok, err := indexer.GetByKey(key)
	if err != nil || !ok {
		return none, false
	}
	obj, ok := found.(T)
	return obj, ok
}

// volumesOf reads what a pod's claims ask; nil for a pod without claims. used tells whether another pod has a claim that
// only one may have.
func (s *storage) volumesOf(pod *corev1.Pod, used func(claim string) bool) *Volumes {
	names := claimsOf(pod)
	if len(names) == 0 {
		return nil
	}
	v := &Volumes{}
	for _, name := range names {
		if v.hopeless = s.add(v, pod, name, used); v.hopeless != "" {
			break
		}
	}
	return v
}

// add reads one claim; it returns why no node will do.
func (s *storage) add(v *Volumes, pod *corev1.Pod, name string, used func(claim string) bool) string {
	claim, ok := get[*corev1.PersistentVolumeClaim](s.claims, pod.Namespace+"/"+name)
	switch {
	case !ok:
		return fmt.Sprintf("persistentvolumeclaim %q not found", name)
	case claim.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
	case claim.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName)
	case made(pod, name) && !metav1.IsControlledBy(claim, pod):
		return fmt.Sprintf("persistentvolumeclaim %q was not created for the pod", name)
	case slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) && used(name):
		return "pod uses a ReadWriteOncePod PersistentVolumeClaim that another pod has"
	}
	if claim.Spec.VolumeName != "" && claim.Annotations[helpers.AnnBindCompleted] != "" {
		volume, ok := get[*corev1.PersistentVolume](s.volumes, claim.Spec.VolumeName)
		if !ok {
			return fmt.Sprintf("persistentvolume %q not found", claim.Spec.VolumeName)
		}
		v.bound = append(v.bound, volume)
		return ""
	}
	class, ok := get[*storagev1.StorageClass](s.classes, helpers.GetPersistentVolumeClaimClass(claim))
	if !ok || class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer || claim.Spec.VolumeName != "" {
		return "pod has unbound immediate PersistentVolumeClaims"
	}
	open := openClaim{claim: claim, class: class}
	for _, obj := range s.volumes.List() {
		if volume, ok := obj.(*corev1.PersistentVolume); ok && helpers.GetPersistentVolumeClass(volume) == class.Name {
			open.volumes = append(open.volumes, volume)
		}
	}
	v.open = append(v.open, open)
	return ""
}

// made tells whether a claim stands for a generic ephemeral volume of the pod.
func made(pod *corev1.Pod, claim string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Ephemeral != nil && pod.Name+"-"+v.Name == claim })
}

// filterVolumes objects to nodes on which a volume of the pod is not, or cannot be made.
func filterVolumes(p *Pod, n *Node, reasons []string) []string {
	v := p.volumes
	switch {
	case v == nil:
		return reasons
	case v.hopeless != "":
		return append(reasons, v.hopeless)
	}
	for _, volume := range v.bound {
		if helpers.CheckNodeAffinity(volume, n.Object.Labels) != nil {
			return append(reasons, "node(s) didn't match PersistentVolume's node affinity")
		}
	}
	chosen := map[string]*corev1.PersistentVolume{}
	for i := range v.open {
		if !v.open[i].possible(n, chosen) {
			return append(reasons, "node(s) didn't find available persistent volumes to bind")
		}
	}
	return reasons
}

// possible tells whether the claim can have a volume on the node; one that is there is chosen, so that no two claims
// count on it.
func (o *openClaim) possible(n *Node, chosen map[string]*corev1.PersistentVolume) bool {
	if node := o.claim.Annotations[helpers.AnnSelectedNode]; node != "" && node != n.Name {
		return false // its volume is being made elsewhere
	}
	volume, err := helpers.FindMatchingVolume(o.claim, o.volumes, n.Object, chosen, false, false)
	if err != nil {
		return false
	}
	if volume != nil {
		chosen[volume.Name] = volume
		return true
	}
	return o.class.Provisioner != helpers.NotSupportedProvisioner && allowed(o.class, n.Object)
}

// allowed tells whether a class lets volumes be made for the node.
func allowed(class *storagev1.StorageClass, node *corev1.Node) bool {
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	for _, term := range class.AllowedTopologies {
		fits := true
		for _, e := range term.MatchLabelExpressions {
			fits = fits && slices.Contains(e.Values, node.Labels[e.Key])
		}
		if fits {
			return true
		}
	}
	return false
}

// waits tells whether volumes have to be bound before the pod can be.
func (p *Pod) waits() bool { return p.volumes != nil && len(p.volumes.open) > 0 }

// withVolumes is the pod with what its claims ask of its node now.
func (s *Scheduler) withVolumes(p *Pod) *Pod {
	v := s.storage.volumesOf(p.Object, func(claim string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.cluster.uses(p.Object.Namespace, claim, p.UID())
	})
	if v == nil {
		return p
	}
	with := *p
	with.volumes = v
	return &with
}

// chooseVolumes tells on the pod's claims where it is to run, so that their volumes are bound there. The pod is tried
// again when they are.
func (s *Scheduler) chooseVolumes(ctx context.Context, p *Pod, node string) {
	for _, o := range p.volumes.open {
		if o.claim.Annotations[helpers.AnnSelectedNode] == node {
			continue
		}
		changed := o.claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&changed.ObjectMeta, helpers.AnnSelectedNode, node)
		if _, err := s.cfg.Client.Update(ctx, changed); err != nil {
			s.cfg.Logger.Debug("claim was not told where its pod is to run", "pod", p.Key(), "claim", o.claim.Name, "error", err)
			s.mu.Lock()
			s.wakeClaimants()
			s.mu.Unlock()
			return
		}
	}
	s.cfg.Logger.Debug("volumes of a pod are to be bound", "pod", p.Key(), "node", node)
}

// wakeClaimants has the parked pods tried again that wait for volumes. The caller holds the lock.
func (s *Scheduler) wakeClaimants() {
	if s.queue.Wake(func(p *Pod) bool { return len(claimsOf(p.Object)) > 0 }, s.cfg.Clock.Now()) > 0 {
		s.poke()
	}
}

// storageHandler has pods with claims tried again when something of storage changes.
func (s *Scheduler) storageHandler() cache.ResourceEventHandler {
	wake := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue.Mark(func(p *Pod) bool { return len(claimsOf(p.Object)) > 0 })
		s.wakeClaimants()
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(any) { wake() },
	}
}
