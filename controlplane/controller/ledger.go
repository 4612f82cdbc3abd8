package controller

import (
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// ledgerPatience is how long a created pod may be missing from the cache before it is looked up afresh. A cache
	// that had to list again may never show a pod that came and went in between.
	ledgerPatience = 5 * time.Second
	// ledgerMemory is how long the deletion of a pod is remembered that the cache has never shown. It may still show
	// it, for a moment and as if nothing had happened.
	ledgerMemory = 10 * time.Minute
)

// ledger remembers the pods that a controller created or deleted and that its cache does not show yet, so that a
// step taken on a lagging cache neither creates nor deletes one twice. Unlike a count of expected events it is
// exact: a view is always the cache plus one's own writes, and no step has to be put off.
type ledger struct {
	mu     sync.Mutex
	owners map[types.UID]*writes
}

// writes are what one owner's controller did of late.
type writes struct {
	// creating counts the creations under way. While there are any, the UIDs of pods that the cache shows are kept
	// in shown: an event may arrive before the creation that caused it has returned.
	creating int
	shown    map[types.UID]struct{}
	created  map[types.UID]written
	deleted  map[types.UID]deletion
}

// deletion is a pod that was asked to go.
type deletion struct {
	at time.Time
	// unseen tells that the cache has not shown the pod at all yet. Once it has, its absence means that it is gone.
	unseen bool
}

// written is a created pod as the API returned it.
type written struct {
	pod *corev1.Pod
	at  time.Time
}

func newLedger() *ledger { return &ledger{owners: make(map[types.UID]*writes)} }

func (l *ledger) of(owner types.UID) *writes {
	w := l.owners[owner]
	if w == nil {
		w = &writes{
			shown:   make(map[types.UID]struct{}),
			created: make(map[types.UID]written),
			deleted: make(map[types.UID]deletion),
		}
		l.owners[owner] = w
	}
	return w
}

// drop frees the entry of an owner without open writes.
func (l *ledger) drop(owner types.UID, w *writes) {
	if w.creating == 0 && len(w.created) == 0 && len(w.deleted) == 0 {
		delete(l.owners, owner)
	}
}

// creating says that a pod of owner is about to be created. created or notCreated must follow.
func (l *ledger) creating(owner types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(owner).creating++
}

// created says that the creation succeeded.
func (l *ledger) created(owner types.UID, pod *corev1.Pod, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.of(owner)
	if _, ok := w.shown[pod.UID]; !ok {
		w.created[pod.UID] = written{pod: pod, at: now}
	}
	l.finished(owner, w)
}

// notCreated says that the creation failed.
func (l *ledger) notCreated(owner types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished(owner, l.of(owner))
}

func (l *ledger) finished(owner types.UID, w *writes) {
	w.creating--
	if w.creating == 0 {
		clear(w.shown)
	}
	l.drop(owner, w)
}

// deleted says that a pod of owner was asked to go.
func (l *ledger) deleted(owner, pod types.UID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.of(owner)
	_, unseen := w.created[pod]
	w.deleted[pod] = deletion{at: now, unseen: unseen}
}

// gone says that a pod that was created and never shown does not exist any more.
func (l *ledger) gone(owner, pod types.UID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.owners[owner]; w != nil {
		if _, unseen := w.created[pod]; unseen {
			delete(w.created, pod)
			w.deleted[pod] = deletion{at: now, unseen: true}
		}
	}
}

// forget drops all about an owner that is gone.
func (l *ledger) forget(owner types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.owners[owner]; w != nil && w.creating == 0 {
		delete(l.owners, owner)
	}
}

// observe takes note of an event of the pod cache. It must be called after the cache shows the change.
func (l *ledger) observe(c change) {
	pod := c.object()
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.owners[ref.UID]
	if w == nil {
		return
	}
	uid := pod.GetUID()
	if w.creating > 0 {
		w.shown[uid] = struct{}{}
	}
	delete(w.created, uid)
	if c.new == nil || pod.GetDeletionTimestamp() != nil {
		delete(w.deleted, uid)
	} else if d, ok := w.deleted[uid]; ok {
		w.deleted[uid] = deletion{at: d.at}
	}
	l.drop(ref.UID, w)
}

// view is what an owner's pods are, own writes included.
type view struct {
	pods []*corev1.Pod
	// leaving are pods whose deletion was asked for though the pod as read does not show it.
	leaving map[types.UID]struct{}
	// missing are created pods that the cache has not shown for longer than ledgerPatience.
	missing []*corev1.Pod
	// unseen tells that some created pods are not in the cache yet.
	unseen bool
}

// terminating tells whether a pod is on its way out.
func (v *view) terminating(pod *corev1.Pod) bool {
	_, ok := v.leaving[pod.UID]
	return ok || pod.DeletionTimestamp != nil
}

// look merges the cache with the open writes. The ledger is read before the cache: a pod that the cache receives in
// between is then in both, never in neither.
func (l *ledger) look(owner types.UID, now time.Time, read func() []*corev1.Pod) *view {
	created, leaving := l.open(owner)
	v := &view{pods: read(), leaving: make(map[types.UID]struct{}, len(leaving))}
	cached := make(map[types.UID]bool, len(v.pods))
	for _, pod := range v.pods {
		delete(created, pod.UID)
		cached[pod.UID] = pod.DeletionTimestamp == nil
	}
	var settled []types.UID
	for uid, d := range leaving {
		v.leaving[uid] = struct{}{}
		alive, shown := cached[uid]
		_, open := created[uid]
		switch {
		case shown && !alive, !shown && !open && !d.unseen, !shown && !open && now.Sub(d.at) > ledgerMemory:
			settled = append(settled, uid)
		}
	}
	l.settle(owner, settled)
	for _, c := range created {
		v.pods = append(v.pods, c.pod)
		v.unseen = true
		if now.Sub(c.at) > ledgerPatience {
			v.missing = append(v.missing, c.pod)
		}
	}
	return v
}

// settle strikes deletions that the cache shows: the pod is terminating there, or was there and went.
func (l *ledger) settle(owner types.UID, pods []types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.owners[owner]; w != nil && len(pods) > 0 {
		for _, uid := range pods {
			delete(w.deleted, uid)
		}
		l.drop(owner, w)
	}
}

// open copies the open writes of an owner.
func (l *ledger) open(owner types.UID) (created map[types.UID]written, leaving map[types.UID]deletion) {
	created, leaving = map[types.UID]written{}, map[types.UID]deletion{}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.owners[owner]; w != nil {
		maps.Copy(created, w.created)
		maps.Copy(leaving, w.deleted)
	}
	return created, leaving
}
