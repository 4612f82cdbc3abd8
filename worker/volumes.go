package worker

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/petrelrun/petrel/worker/csi"
	"github.com/petrelrun/petrel/worker/env"
	"github.com/petrelrun/petrel/worker/pod"
	"github.com/petrelrun/petrel/worker/runtimes"
	"github.com/petrelrun/petrel/worker/volume"
	"github.com/petrelrun/petrel/worker/volume/follow"
)

// mounted is what an actor knows of volumes whose files come from the API: they change while the pod runs.
type mounted struct {
	unfollow func()
	due      bool // something may have changed
	opened   bool // for guests of the Wasm runtime
	retry    time.Time
	told     string // the failure that there was an event of
}

// makeVolumes makes what the pod's containers mount, and the directory of their logs.
func (a *actor) makeVolumes(ctx context.Context) error {
	release, err := slot(ctx, a.m.volumes)
	if err != nil {
		return err
	}
	defer release()
	var host volume.Host
	if len(a.view.Pod.Spec.Volumes) > 0 {
		a.followVolumes()
		host, err = a.volumeMaker().Make(ctx, a.view.Pod, a.m.paths.volumes(a.uid), a.facts())
	}
	if err == nil {
		err = makeDir(a.m.paths.logs(a.view.Pod), passDir)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.holdBack(volumeRetry, eventFailedMount, err)
		return nil
	}
	a.host = host
	a.view.Prepared, a.view.Why = true, pod.Why{}
	return nil
}

// openVolumes lets the Wasm runtime read the files of volumes. That a pod's container is a guest is known only when the
// volumes have been made.
func (a *actor) openVolumes(ctx context.Context) error {
	if a.mounted == nil || a.mounted.opened || !volume.Closed(a.view.Pod) {
		return nil
	}
	if _, err := a.volumeMaker().Renew(ctx, a.view.Pod, a.m.paths.volumes(a.uid), a.facts()); err != nil {
		return err
	}
	a.mounted.opened = true
	return nil
}

// inheritVolumes has what an earlier worker made for a pod that ends removed as if this one had made it.
func (a *actor) inheritVolumes() {
	if a.view.Prepared || len(a.view.Pod.Spec.Volumes) == 0 {
		return
	}
	_, err := os.Lstat(a.m.paths.volumes(a.uid))
	a.view.Prepared = err == nil
}

const (
	// unpublishWait is how long drivers are asked again to take volumes back before that is told: the process that ran the
	// pod's guests may take a moment to close what it had open there. unpublishPause is the pause between.
	unpublishWait  = 10 * time.Second
	unpublishPause = 250 * time.Millisecond
)

// unpublish has CSI drivers take back what they mounted for the pod.
func (a *actor) unpublish(ctx context.Context) error {
	for end := time.Now().Add(unpublishWait); ; {
		err := a.m.drivers.Unpublish(ctx, a.m.paths.volumes(a.uid))
		if err == nil || errors.Is(err, csi.ErrNotRegistered) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(unpublishPause):
		}
	}
}

// removeVolumes takes away what makeVolumes made, but for the logs.
func (a *actor) removeVolumes(ctx context.Context) error {
	a.unfollowVolumes()
	if len(a.view.Pod.Spec.Volumes) > 0 {
		err := a.unpublish(ctx)
		if err == nil {
			err = a.m.onDisk(func() error {
				// That on disk goes last: as long as it is there, there is something to remove.
				if err := volume.Remove(volumesIn(a.m.paths.memoryPod(a.uid))); err != nil {
					return err
				}
				return volume.Remove(a.m.paths.volumes(a.uid))
			})
		}
		if err != nil {
			if ctx.Err() == nil {
				a.m.events.warn(a.view.Pod, "", eventFailedUnmount, "%v", err)
			}
			return err
		}
	}
	a.view.Prepared = false
	return nil
}

func (a *actor) volumeMaker() *volume.Maker {
	source := followedSource{a.source(), a.m.follower}
	return &volume.Maker{
		Memory: a.memoryVolumes,
		Guests: a.kinds != nil && a.kinds.pod() != runtimes.KindOCI, Source: source, HostPaths: a.m.cfg.HostPaths, Logger: a.m.log, Claims: &claims{client: a.m.cfg.Client, dir: a.m.paths.refs(a.uid)},
		LocalDir: a.m.paths.localVolumes(), Drivers: a.m.drivers, NodeLabels: map[string]string{corev1.LabelHostname: a.m.cfg.NodeName},
	}
}

// memoryVolumes is the directory of the pod's volumes that lie in memory; empty where they have to lie on disk.
func (a *actor) memoryVolumes() (string, error) {
	dir, err := a.m.memory.Of(string(a.uid))
	if err != nil || dir == "" {
		return "", err
	}
	return volumesIn(dir), nil
}

// secretRefs is where the secrets are kept that the pod names: in memory, where that can be had.
func (a *actor) secretRefs() (string, error) {
	dir, err := a.m.memory.Of(string(a.uid))
	if err != nil || dir == "" {
		return a.m.paths.refs(a.uid), err
	}
	return refsIn(dir), nil
}

// followVolumes has the actor hear of changes of what its volumes are made from.
func (a *actor) followVolumes() {
	if a.mounted != nil || !slices.ContainsFunc(a.view.Pod.Spec.Volumes, func(v corev1.Volume) bool { return volume.FromAPI(&v) }) {
		return
	}
	a.mounted = &mounted{unfollow: a.m.follower.Follow(volumeKeys(a.view.Pod), func() { a.tell(func() { a.renew = true }) })}
}

func (a *actor) unfollowVolumes() {
	if a.mounted != nil {
		a.mounted.unfollow()
		a.mounted = nil
	}
}

// volumeKeys are the config maps and secrets that the pod mounts.
func volumeKeys(p *corev1.Pod) []follow.Key {
	var keys []follow.Key
	add := func(kind follow.Kind, name string) {
		keys = append(keys, follow.Key{Kind: kind, Namespace: p.Namespace, Name: name})
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			add(follow.ConfigMap, v.ConfigMap.Name)
		case v.Secret != nil:
			add(follow.Secret, v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					add(follow.ConfigMap, s.ConfigMap.Name)
				}
				if s.Secret != nil {
					add(follow.Secret, s.Secret.Name)
				}
			}
		}
	}
	return keys
}

// noteVolumes notes that what volumes are made from may have changed: config maps and secrets, or the labels and
// annotations that the downward API tells of.
func (a *actor) noteVolumes(in inbox) {
	old, newer := a.view.Pod, in.pod
	if a.mounted != nil && (in.renew || !maps.Equal(old.Labels, newer.Labels) || !maps.Equal(old.Annotations, newer.Annotations)) {
		a.mounted.due = true
	}
}

// renewVolumes brings the volumes of a running pod up to date when they may have changed, and tells when to try again
// what failed.
func (a *actor) renewVolumes(ctx context.Context, now time.Time) time.Time {
	v := a.mounted
	if v == nil || !v.due || !a.view.Prepared || a.view.Stopping != nil || a.view.Over {
		return time.Time{} // nothing is new, or they are yet to be made, or needed no longer
	}
	if now.Before(v.retry) {
		return v.retry
	}
	release, err := slot(ctx, a.m.volumes)
	if err != nil {
		return now
	}
	defer release()
	_, err = a.volumeMaker().Renew(ctx, a.view.Pod, a.m.paths.volumes(a.uid), a.facts())
	if err == nil {
		v.due, v.told, v.retry = false, "", time.Time{}
		return time.Time{}
	}
	if ctx.Err() != nil {
		return now // interrupted
	}
	if v.told != err.Error() {
		v.told = err.Error()
		a.m.events.warn(a.view.Pod, "", eventFailedMount, "%v", err)
	}
	v.retry = now.Add(volumeRetry)
	return v.retry
}

// followedSource answers from what is followed, and else asks the API.
type followedSource struct {
	env.Source
	follower *follow.Follower
}

// ConfigMap implements env.Source.
func (s followedSource) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	object, known := s.follower.ConfigMap(namespace, name)
	if !known {
		return s.Source.ConfigMap(ctx, namespace, name)
	}
	if object == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
	}
	return object, nil
}

// Secret implements env.Source.
func (s followedSource) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	object, known := s.follower.Secret(namespace, name)
	if !known {
		return s.Source.Secret(ctx, namespace, name)
	}
	if object == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	return object, nil
}
