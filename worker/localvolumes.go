package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/petrelrun/petrel/worker/service/feed"
	"github.com/petrelrun/petrel/worker/volume"
)

const (
	// annotationLocalPath tells on the Node where its local volumes are.
	annotationLocalPath = "petrel.run/local-path-dir"
	// localPathFinalizer keeps a volume until its node has removed the directory; volumeProtection as long as there may
	// be somebody who uses it.
	localPathFinalizer = "petrel.run/local-path"
	volumeProtection   = "kubernetes.io/pv-protection"
	// eraseRetry is when a directory that could not be removed is tried again.
	eraseRetry = 5 * time.Second
)

// eraser removes the directories of local volumes that are deleted.
type eraser struct {
	client kubernetes.Interface
	maker  *volume.Maker
	log    *slog.Logger

	mu   sync.Mutex
	due  map[string]*corev1.PersistentVolume // by name
	wake chan struct{}                       // holds at most one
}

func newEraser(client kubernetes.Interface, dir string, log *slog.Logger) *eraser {
	return &eraser{
		client: client, maker: &volume.Maker{LocalDir: dir}, log: log,
		due: map[string]*corev1.PersistentVolume{}, wake: make(chan struct{}, 1),
	}
}

// run follows the volumes until ctx ends.
func (e *eraser) run(ctx context.Context) {
	volumes := feed.New(e.client, e.client.CoreV1().PersistentVolumes(), &corev1.PersistentVolume{}, "", feed.Handler[*corev1.PersistentVolume]{
		Set: e.note, Gone: func(k feed.Key) { e.forget(k.Name) },
	})
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { volumes.Run(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		if e.work(ctx) {
			continue
		}
		select { // what failed is tried again after a while
		case <-ctx.Done():
			return
		case <-time.After(eraseRetry):
			e.poke()
		}
	}
}

// note takes in a volume, if it is this node's to remove.
func (e *eraser) note(v *corev1.PersistentVolume) {
	_, ours := e.maker.OwnLocal(v)
	if !ours || v.DeletionTimestamp == nil || !slices.Contains(v.Finalizers, localPathFinalizer) || slices.Contains(v.Finalizers, volumeProtection) {
		return
	}
	e.mu.Lock()
	e.due[v.Name] = v
	e.mu.Unlock()
	e.poke()
}

func (e *eraser) forget(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.due, name)
}

func (e *eraser) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// work removes what is due; false when something is to be tried again.
func (e *eraser) work(ctx context.Context) bool {
	e.mu.Lock()
	var all []*corev1.PersistentVolume
	for _, v := range e.due {
		all = append(all, v)
	}
	e.mu.Unlock()
	done := true
	for _, v := range all {
		if err := e.erase(ctx, v); err != nil {
			e.log.Warn("local volume was not removed", "volume", v.Name, "error", err)
			done = false
			continue
		}
		e.mu.Lock()
		if e.due[v.Name] == v {
			delete(e.due, v.Name)
		}
		e.mu.Unlock()
	}
	return done
}

// erase removes a volume's directory, unless its data is to be kept, and lets go of the volume.
func (e *eraser) erase(ctx context.Context, v *corev1.PersistentVolume) error {
	dir, ours := e.maker.OwnLocal(v)
	if ours && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		if err := volume.Remove(dir); err != nil {
			return err
		}
	}
	left := slices.DeleteFunc(slices.Clone(v.Finalizers), func(f string) bool { return f == localPathFinalizer })
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": left, "uid": v.UID, "resourceVersion": v.ResourceVersion}})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err = e.client.CoreV1().PersistentVolumes().Patch(ctx, v.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, or it comes again as it is now
		return nil
	}
	return err
}
