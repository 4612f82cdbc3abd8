package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
)

// report is the newest that is to be told of a pod. Newer ones replace it while it waits.
type report struct {
	pod         *corev1.Pod // as the API last gave it
	status      corev1.PodStatus
	annotations map[string]string // to be set
	remove      bool              // the pod has ended and is to leave the API
	told        func()            // called when the API has the status
	gone        func()            // called when the API has no such pod
}

// statusWriter sends reports: of one pod one at a time and the newest only, of all pods so many at a time, each until
// the API has taken it.
type statusWriter struct {
	client kubernetes.Interface
	// current is the pod as the informer has it; nil for none. It is called with mu held.
	current func(uid types.UID) *corev1.Pod
	queue   workqueue.TypedRateLimitingInterface[types.UID]
	m       *metrics

	mu      sync.Mutex
	waiting map[types.UID]*report
	seen    map[types.UID]*corev1.Pod // what the last answer held, newer than the informer's
}

func newStatusWriter(client kubernetes.Interface, m *metrics) *statusWriter {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](statusRetryBase, statusRetryMax)
	return &statusWriter{
		client: client, m: m, current: func(types.UID) *corev1.Pod { return nil }, queue: workqueue.NewTypedRateLimitingQueue(limiter),
		waiting: map[types.UID]*report{}, seen: map[types.UID]*corev1.Pod{},
	}
}

func (w *statusWriter) put(uid types.UID, r *report) {
	w.mu.Lock()
	if old := w.waiting[uid]; old != nil { // annotations that were not sent yet are not lost
		merged := maps.Clone(old.annotations)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, r.annotations)
		r.annotations = merged
	}
	w.waiting[uid] = r
	w.mu.Unlock()
	w.queue.Add(uid)
}

// caughtUp is told of each version of a pod that the API hands on, so that an answer that is no newer is not kept.
func (w *statusWriter) caughtUp(object *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seen := w.seen[object.UID]; seen != nil && !newer(seen, object) {
		delete(w.seen, object.UID)
	}
}

// keep notes an answer that the informer does not have yet: mostly it comes the sooner of the two.
func (w *statusWriter) keep(uid types.UID, answer *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if current := w.current(uid); current == nil || newer(answer, current) {
		w.seen[uid] = answer
	}
}

// forget drops what is known of a pod that is gone.
func (w *statusWriter) forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, uid)
	delete(w.seen, uid)
}

// run sends reports until ctx ends.
func (w *statusWriter) run(ctx context.Context) {
	var writers sync.WaitGroup
	for range maxStatusWriters {
		writers.Go(func() {
			for w.turn(ctx) {
			}
		})
	}
	<-ctx.Done()
	w.queue.ShutDown()
	writers.Wait()
}

func (w *statusWriter) turn(ctx context.Context) bool {
	uid, shutdown := w.queue.Get()
	if shutdown {
		return false
	}
	defer w.queue.Done(uid)
	w.mu.Lock()
	r, base, current := w.waiting[uid], w.seen[uid], w.current(uid)
	delete(w.waiting, uid)
	w.mu.Unlock()
	if r == nil {
		return true
	}
	for _, other := range []*corev1.Pod{r.pod, current} {
		if base == nil || other != nil && newer(other, base) {
			base = other
		}
	}
	err := w.send(ctx, uid, base, r)
	switch {
	case err == nil:
		w.queue.Forget(uid)
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // gone, or another pod of its name
		w.queue.Forget(uid)
		w.forget(uid)
		r.gone()
	case ctx.Err() == nil:
		w.m.statusFailures.Inc()
		w.mu.Lock()
		if w.waiting[uid] == nil {
			w.waiting[uid] = r
		}
		w.mu.Unlock()
		w.queue.AddRateLimited(uid)
	}
	return true
}

// newer compares resource versions, which Kubernetes since 1.35 lets clients do.
func newer(a, b *corev1.Pod) bool {
	x, errX := strconv.ParseUint(a.ResourceVersion, 10, 64)
	y, errY := strconv.ParseUint(b.ResourceVersion, 10, 64)
	return errX != nil || errY != nil || x > y
}

func (w *statusWriter) send(ctx context.Context, uid types.UID, base *corev1.Pod, r *report) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	pods := w.client.CoreV1().Pods(base.Namespace)
	patch, err := statusPatch(base, &r.status, r.annotations)
	if err != nil {
		return err
	}
	if patch != nil {
		answer, err := pods.Patch(ctx, base.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil {
			return fmt.Errorf("patch pod status: %w", err)
		}
		w.m.statusWrites.Inc()
		if answer, err = w.annotate(ctx, answer, r.annotations); err != nil {
			return err
		}
		w.keep(uid, answer)
	}
	r.told()
	if !r.remove {
		return nil
	}
	err = pods.Delete(ctx, base.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if err != nil {
		return fmt.Errorf("delete ended pod: %w", err)
	}
	return nil
}

// annotate sets annotations that the server did not take with the status.
func (w *statusWriter) annotate(ctx context.Context, answer *corev1.Pod, annotations map[string]string) (*corev1.Pod, error) {
	if subset(annotations, answer.Annotations) {
		return answer, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": answer.UID, "annotations": annotations}})
	if err != nil {
		return nil, fmt.Errorf("encode annotations: %w", err)
	}
	answer, err = w.client.CoreV1().Pods(answer.Namespace).Patch(ctx, answer.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return nil, fmt.Errorf("annotate pod: %w", err)
	}
	return answer, nil
}

func subset(some, all map[string]string) bool {
	for k, v := range some {
		if got, ok := all[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// statusPatch is what turns the pod's status into the new one; nil when nothing does.
func statusPatch(base *corev1.Pod, status *corev1.PodStatus, annotations map[string]string) ([]byte, error) {
	from, err := json.Marshal(corev1.Pod{Status: base.Status})
	if err != nil {
		return nil, fmt.Errorf("encode pod status: %w", err)
	}
	to, err := json.Marshal(corev1.Pod{Status: *status})
	if err != nil {
		return nil, fmt.Errorf("encode pod status: %w", err)
	}
	diff, err := strategicpatch.CreateTwoWayMergePatch(from, to, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("compare pod statuses: %w", err)
	}
	if string(diff) == "{}" && subset(annotations, base.Annotations) {
		return nil, nil
	}
	patch := map[string]json.RawMessage{}
	if err := json.Unmarshal(diff, &patch); err != nil {
		return nil, fmt.Errorf("read status patch: %w", err)
	}
	meta := map[string]any{"uid": base.UID} // another pod of the name must not get it
	if len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	if patch["metadata"], err = json.Marshal(meta); err != nil {
		return nil, fmt.Errorf("encode status patch: %w", err)
	}
	return json.Marshal(patch)
}
