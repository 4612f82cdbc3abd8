package worker

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/worker/staticpods"
)

// mirrorRetry is when a mirror pod that the API did not take is tried again.
const mirrorRetry = 5 * time.Second

// syncPoll is how often is looked whether the API's pods are known whole.
const syncPoll = 500 * time.Millisecond

// see is told of a mirror pod as the API has it.
func (k *staticKeeper) see(mirror *corev1.Pod) {
	name := nameOf(mirror)
	k.mu.Lock()
	old := k.mirrors[name]
	k.mirrors[name] = mirror
	var last *report
	if old == nil || old.UID != mirror.UID {
		last = k.reports[name] // it has seen none yet
	}
	k.mu.Unlock()
	if last != nil {
		k.tell(last)
	}
	if old == nil || old.UID != mirror.UID || mirror.DeletionTimestamp != nil {
		k.wake()
	}
}

// lose is told that the API has that pod no longer.
func (k *staticKeeper) lose(uid types.UID) {
	k.mu.Lock()
	for name, mirror := range k.mirrors {
		if mirror.UID == uid {
			delete(k.mirrors, name)
		}
	}
	k.mu.Unlock()
	k.m.statuses.forget(uid)
	k.wake()
}

// mirror is the mirror pod with that UID; nil for none.
func (k *staticKeeper) mirror(uid types.UID) *corev1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, mirror := range k.mirrors {
		if mirror.UID == uid {
			return mirror
		}
	}
	return nil
}

// tell has the API show a static pod's status in its mirror, as soon as there is one. What the API owns of the status is
// the mirror's.
func (k *staticKeeper) tell(r *report) {
	name := nameOf(r.pod)
	k.mu.Lock()
	k.reports[name] = r
	mirror := k.mirrors[name]
	k.mu.Unlock()
	if mirror == nil || !staticpods.Mirrors(mirror, r.pod) {
		return
	}
	status := r.status
	status.QOSClass, status.NominatedNodeName, status.Resize = mirror.Status.QOSClass, mirror.Status.NominatedNodeName, mirror.Status.Resize
	uid := mirror.UID
	k.m.statuses.put(uid, &report{pod: mirror, status: status, annotations: r.annotations, told: r.told, gone: func() { k.lose(uid) }})
}

// reflect keeps the API's mirrors like the static pods until ctx ends. It has nothing to say before the API's pods are
// known whole.
func (k *staticKeeper) reflect(ctx context.Context, synced func() bool, nodeUID func() types.UID) {
	for {
		wait := syncPoll
		if synced() {
			wait = mirrorRetry
			k.compare(ctx, nodeUID())
		}
		select {
		case <-ctx.Done():
			return
		case <-k.poke:
		case <-time.After(wait):
		}
	}
}

// compare makes the mirrors that are missing and deletes those that picture nothing.
func (k *staticKeeper) compare(ctx context.Context, nodeUID types.UID) {
	missing, surplus := k.difference()
	for _, mirror := range surplus {
		k.remove(ctx, mirror)
	}
	for _, static := range missing {
		if err := k.create(ctx, static, nodeUID); err != nil && ctx.Err() == nil {
			k.m.log.Debug("mirror pod was not made", "pod", static.Namespace+"/"+static.Name, "error", err)
		}
	}
}

// difference is what the API lacks and has too much. The mirror of a pod that is gone from the directory stays until it has
// ended.
func (k *staticKeeper) difference() (missing, surplus []*corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wanted == nil {
		return nil, nil
	}
	for name, static := range k.wanted {
		if k.mirrors[name] == nil {
			missing = append(missing, static)
		}
	}
	for name, mirror := range k.mirrors {
		static := k.wanted[name]
		running := k.m.named(name.Namespace, name.Name) != nil
		if static == nil && (!running || mirror.DeletionTimestamp != nil) || static != nil && !staticpods.Mirrors(mirror, static) {
			surplus = append(surplus, mirror)
		}
	}
	for name := range k.reports {
		if k.wanted[name] == nil && k.mirrors[name] == nil {
			delete(k.reports, name)
		}
	}
	return missing, surplus
}

func (k *staticKeeper) create(ctx context.Context, static *corev1.Pod, nodeUID types.UID) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	made, err := k.m.cfg.Client.CoreV1().Pods(static.Namespace).Create(ctx, staticpods.Mirror(static, nodeUID), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	k.see(made)
	return nil
}

func (k *staticKeeper) remove(ctx context.Context, mirror *corev1.Pod) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	err := k.m.cfg.Client.CoreV1().Pods(mirror.Namespace).Delete(ctx, mirror.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &mirror.UID},
	})
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		k.lose(mirror.UID)
	case ctx.Err() == nil:
		k.m.log.Debug("mirror pod was not deleted", "pod", mirror.Namespace+"/"+mirror.Name, "error", err)
	}
}
