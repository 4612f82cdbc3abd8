package controller

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/petrelrun/petrel/controlplane/api"
)

var onlyGC = []build{newGarbageCollector}

// owned makes a ConfigMap whose UID is its name.
func owned(name string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: name, UID: types.UID(name), OwnerReferences: owners,
	}}
}

func ref(name string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: types.UID(name)}
}

func blocking(name string) metav1.OwnerReference {
	r := ref(name)
	r.BlockOwnerDeletion = ptr.To(true)
	return r
}

func (w *world) wantThere(names ...string) {
	w.t.Helper()
	for _, n := range names {
		if !w.exists(owned(n)) {
			w.t.Errorf("%s is gone", n)
		}
	}
}

func (w *world) wantGone(names ...string) {
	w.t.Helper()
	for _, n := range names {
		if w.exists(owned(n)) {
			w.t.Errorf("%s is still there", n)
		}
	}
}

func TestGCBackground(t *testing.T) {
	inWorld(t, onlyGC, func(w *world) {
		w.wantThere("a", "b", "c", "other")
		w.delete(owned("a"), metav1.DeletePropagationBackground)
		w.settle(time.Second)
		w.wantGone("a", "b", "c")
		w.wantThere("other")
	}, owned("a"), owned("b", ref("a")), owned("c", ref("b")), owned("other"))
}

func TestGCDanglingFromTheStart(t *testing.T) {
	inWorld(t, onlyGC, func(w *world) {
		w.wantGone("never", "replaced")
		w.wantThere("a", "unknown-kind")
	}, owned("a"), owned("never", ref("missing")),
		// An owner of that name exists, but it is another one.
		owned("replaced", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "a", UID: "an earlier a"}),
		owned("unknown-kind", metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Thing", Name: "x", UID: "x"}))
}

func TestGCKeepsWhatHasAnotherOwner(t *testing.T) {
	inWorld(t, onlyGC, func(w *world) {
		w.delete(owned("a"), metav1.DeletePropagationBackground)
		w.settle(time.Second)
		w.wantThere("shared")
		if refs := get(w, owned("shared")).OwnerReferences; len(refs) != 1 || refs[0].Name != "b" {
			t.Errorf("owners %v", refs)
		}
		w.delete(owned("b"), metav1.DeletePropagationBackground)
		w.settle(time.Second)
		w.wantGone("shared")
	}, owned("a"), owned("b"), owned("shared", ref("a"), ref("b")))
}

func TestGCForeground(t *testing.T) {
	held := owned("held", blocking("a"))
	held.Finalizers = []string{"example.com/hold"}
	inWorld(t, onlyGC, func(w *world) {
		w.delete(owned("a"), metav1.DeletePropagationForeground)
		w.settle(10 * time.Second)
		w.wantGone("quick")
		w.wantThere("a", "held")
		edit(w, held, func(c *corev1.ConfigMap) { c.Finalizers = nil })
		w.settle(time.Second)
		w.wantGone("a", "held", "free")
	}, owned("a"), owned("quick", blocking("a")), held, owned("free", ref("a")))
}

// TestGCForegroundChain deletes a chain from its end: each waits for what it owns.
func TestGCForegroundChain(t *testing.T) {
	last := owned("c", blocking("b"))
	last.Finalizers = []string{"example.com/hold"}
	inWorld(t, onlyGC, func(w *world) {
		w.delete(owned("a"), metav1.DeletePropagationForeground)
		w.settle(10 * time.Second)
		w.wantThere("a", "b", "c")
		edit(w, last, func(c *corev1.ConfigMap) { c.Finalizers = nil })
		w.settle(time.Second)
		w.wantGone("a", "b", "c")
	}, owned("a"), owned("b", blocking("a")), last)
}

func TestGCForegroundRing(t *testing.T) {
	inWorld(t, onlyGC, func(w *world) {
		w.wantThere("a", "b") // a ring alone is no reason
		w.delete(owned("a"), metav1.DeletePropagationForeground)
		w.settle(10 * time.Second)
		w.wantGone("a", "b")
	}, owned("a", blocking("b")), owned("b", blocking("a")))
}

func TestGCOrphan(t *testing.T) {
	inWorld(t, onlyGC, func(w *world) {
		w.mu.Lock()
		w.lag[servicesResource] = time.Second / 2
		w.mu.Unlock()
		late := service(func(s *corev1.Service) { s.OwnerReferences = []metav1.OwnerReference{ref("a")} })
		w.create(late) // the cache does not show it yet
		w.delete(owned("a"), metav1.DeletePropagationOrphan)
		w.settle(5 * time.Second)
		w.wantGone("a")
		w.wantThere("b", "c")
		if !w.exists(late) {
			t.Error("a dependent that was just made was deleted")
		}
		if refs := get(w, owned("b")).OwnerReferences; len(refs) != 0 {
			t.Errorf("owners %v", refs)
		}
	}, owned("a"), owned("b", ref("a")), owned("c", ref("b")))
}

func TestGCAcrossScopes(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "n", OwnerReferences: []metav1.OwnerReference{ref("a")}}}
	elsewhere := owned("elsewhere", ref("a"))
	elsewhere.Namespace = "other"
	ofNode := owned("of-node", metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: "n", UID: "n"})
	inWorld(t, onlyGC, func(w *world) {
		if !w.exists(node) {
			t.Error("a cluster object with an owner in a namespace was deleted")
		}
		if w.exists(elsewhere) {
			t.Error("an owner is looked for in the namespace of what it owns")
		}
		w.wantThere("of-node")
		w.delete(node, metav1.DeletePropagationBackground)
		w.settle(time.Second)
		w.wantGone("of-node")
	}, owned("a"), node, elsewhere, ofNode)
}

// TestGCReadsAfresh lets the cache of the owners lag: what it does not show yet is no reason to delete.
func TestGCReadsAfresh(t *testing.T) {
	inWorld(t, onlyGC, func(w *world) {
		w.mu.Lock()
		w.lag[servicesResource] = time.Hour
		w.mu.Unlock()
		owner := service()
		w.create(owner)
		w.create(owned("of-service", metav1.OwnerReference{APIVersion: "v1", Kind: "Service", Name: "web", UID: owner.UID}))
		w.settle(time.Minute)
		w.wantThere("of-service")
	})
}

func TestGCThousandDependents(t *testing.T) {
	var objects []api.Object
	objects = append(objects, owned("a"))
	for i := range 1000 {
		objects = append(objects, owned(fmt.Sprint("d", i), ref("a")))
	}
	inWorld(t, onlyGC, func(w *world) {
		before := w.count("get ConfigMap")
		w.delete(owned("a"), metav1.DeletePropagationBackground)
		w.settle(time.Second)
		if n := len(all[*corev1.ConfigMap](w, served[2].GVR)); n != 0 {
			t.Errorf("%d are left", n)
		}
		if gets := w.count("get ConfigMap") - before; gets > gcWorkers {
			t.Errorf("%d fresh reads of one owner", gets)
		}
	}, objects...)
}

// TestGCProperty deletes random objects of random graphs in random ways while calls fail and the collector restarts.
// In the end exactly those are left that a plain walk of the graph says.
func TestGCProperty(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) { collectRandomly(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func collectRandomly(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 8))
	w := newWorld(t)
	const count = 25
	owners := make([][]int, count) // only earlier ones: no rings
	for i := range count {
		var refs []metav1.OwnerReference
		for range r.IntN(3) {
			if i == 0 {
				break
			}
			o := r.IntN(i)
			if len(owners[i]) == 1 && owners[i][0] == o {
				continue
			}
			owners[i] = append(owners[i], o)
			owner := ref(fmt.Sprint("o", o))
			owner.BlockOwnerDeletion = ptr.To(r.IntN(2) == 0)
			refs = append(refs, owner)
		}
		w.create(owned(fmt.Sprint("o", i), refs...))
	}
	failing := w.flaky(seed, 6)
	policies := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground}
	gone := map[int]bool{}
	for range 3 {
		w.start(onlyGC...)
		for range 1 + r.IntN(3) {
			i := r.IntN(count)
			failing(false)
			// It may be gone already, as another's dependent.
			_ = w.Delete(context.Background(), owned(fmt.Sprint("o", i)), metav1.DeleteOptions{PropagationPolicy: &policies[r.IntN(2)]})
			failing(true)
			gone[i] = true
			w.settle(time.Duration(r.IntN(500)) * time.Millisecond)
		}
		w.stop()
	}
	failing(false)
	w.start(onlyGC...)
	w.settle(10 * time.Minute)
	w.stop()
	for i := range count { // owners come first
		if len(owners[i]) > 0 && !gone[i] {
			lost := 0
			for _, o := range owners[i] {
				if gone[o] {
					lost++
				}
			}
			gone[i] = lost == len(owners[i])
		}
		if w.exists(owned(fmt.Sprint("o", i))) == gone[i] {
			t.Errorf("seed %d: o%d with owners %v: there %v, want %v", seed, i, owners[i], gone[i], !gone[i])
		}
	}
}
