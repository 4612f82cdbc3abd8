package controller

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/controlplane/api"
)

// gcKey names one object for the garbage collector: an object of the same name made later is another one.
type gcKey struct {
	gvr schema.GroupVersionResource
	types.NamespacedName
	uid types.UID
}

// ownerGraph knows who depends on whom. It holds only the edges: whether an owner exists is a question to the caches
// and to the API.
type ownerGraph struct {
	mu         sync.Mutex
	dependents map[types.UID]map[gcKey]struct{}
}

func newOwnerGraph() *ownerGraph {
	return &ownerGraph{dependents: make(map[types.UID]map[gcKey]struct{})}
}

// update brings the edges of one object from its old references to its new ones.
func (g *ownerGraph) update(key gcKey, old, new []metav1.OwnerReference) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ref := range old {
		if set := g.dependents[ref.UID]; set != nil {
			delete(set, key)
			if len(set) == 0 {
				delete(g.dependents, ref.UID)
			}
		}
	}
	for _, ref := range new {
		set := g.dependents[ref.UID]
		if set == nil {
			set = make(map[gcKey]struct{})
			g.dependents[ref.UID] = set
		}
		set[key] = struct{}{}
	}
}

// of lists what names owner among its owners.
func (g *ownerGraph) of(owner types.UID) []gcKey {
	g.mu.Lock()
	defer g.mu.Unlock()
	keys := make([]gcKey, 0, len(g.dependents[owner]))
	for key := range g.dependents[owner] {
		keys = append(keys, key)
	}
	return keys
}

// hasFinalizer tells whether a finalizer is set.
func hasFinalizer(obj metav1.Object, finalizer string) bool {
	return slices.Contains(obj.GetFinalizers(), finalizer)
}

// waitsForDependents tells whether an object is being deleted in the foreground.
func waitsForDependents(obj metav1.Object) bool {
	return obj.GetDeletionTimestamp() != nil && hasFinalizer(obj, metav1.FinalizerDeleteDependents)
}

// orphansDependents tells whether an object is being deleted and leaves its dependents behind.
func orphansDependents(obj metav1.Object) bool {
	return obj.GetDeletionTimestamp() != nil && hasFinalizer(obj, metav1.FinalizerOrphanDependents)
}

// blocks tells whether obj keeps an owner that is deleted in the foreground.
func blocks(obj metav1.Object, owner types.UID) bool {
	for _, ref := range obj.GetOwnerReferences() {
		if ref.UID == owner && ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion {
			return true
		}
	}
	return false
}

// withoutFinalizer returns a copy of obj without one finalizer.
func withoutFinalizer(obj api.Object, finalizer string) api.Object {
	changed := obj.DeepCopyObject().(api.Object)
	changed.SetFinalizers(slices.DeleteFunc(changed.GetFinalizers(), func(f string) bool { return f == finalizer }))
	return changed
}
