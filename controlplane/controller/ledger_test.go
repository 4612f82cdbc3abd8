package controller

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func ledgerPod(uid types.UID, deleting bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: string(uid), UID: uid, OwnerReferences: []metav1.OwnerReference{{UID: "owner", Controller: new(true)}},
	}}
	if deleting {
		p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	}
	return p
}

func TestLedger(t *testing.T) {
	start := time.Unix(1000, 0)
	type look struct{ pods, leaving int }
	check := func(t *testing.T, l *ledger, at time.Time, want look, cached ...*corev1.Pod) *view {
		t.Helper()
		v := l.look("owner", at, func() []*corev1.Pod { return cached })
		got := look{pods: len(v.pods)}
		for _, p := range v.pods {
			if v.terminating(p) {
				got.leaving++
			}
		}
		if got != want {
			t.Errorf("sees %+v, want %+v", got, want)
		}
		return v
	}
	add := func(l *ledger, uid types.UID) {
		l.creating("owner")
		l.created("owner", ledgerPod(uid, false), start)
	}
	t.Run("a created pod is seen before the cache has it", func(t *testing.T) {
		l := newLedger()
		add(l, "a")
		check(t, l, start, look{pods: 1})
		check(t, l, start, look{pods: 1}, ledgerPod("a", false))
		l.observe(change{new: ledgerPod("a", false)})
		check(t, l, start, look{pods: 0})
		if len(l.owners) != 0 {
			t.Error("something is kept for nothing")
		}
	})
	t.Run("the event comes before the creation returns", func(t *testing.T) {
		l := newLedger()
		l.creating("owner")
		l.observe(change{new: ledgerPod("a", false)})
		l.observe(change{old: ledgerPod("a", false)})
		l.created("owner", ledgerPod("a", false), start)
		check(t, l, start, look{pods: 0})
		if len(l.owners) != 0 {
			t.Error("something is kept for nothing")
		}
	})
	t.Run("a deleted pod leaves before the cache says so", func(t *testing.T) {
		l := newLedger()
		l.deleted("owner", "a", start)
		check(t, l, start, look{pods: 1, leaving: 1}, ledgerPod("a", false))
		check(t, l, start, look{pods: 1, leaving: 1}, ledgerPod("a", true))
		if len(l.owners) != 0 {
			t.Error("what the cache shows is kept")
		}
	})
	t.Run("created and deleted before the cache shows either", func(t *testing.T) {
		l := newLedger()
		add(l, "a")
		l.deleted("owner", "a", start)
		v := check(t, l, start.Add(2*ledgerPatience), look{pods: 1, leaving: 1})
		if len(v.missing) != 1 {
			t.Fatal("the pod is not looked up")
		}
		l.gone("owner", "a", start)
		check(t, l, start, look{})
		l.observe(change{new: ledgerPod("a", false)})
		check(t, l, start, look{pods: 1, leaving: 1}, ledgerPod("a", false)) // long gone, and shown only now
		l.observe(change{old: ledgerPod("a", false)})
		check(t, l, start, look{})
		if len(l.owners) != 0 {
			t.Error("something is kept for nothing")
		}
	})
	t.Run("what the cache never shows is forgotten in the end", func(t *testing.T) {
		l := newLedger()
		add(l, "a")
		l.gone("owner", "a", start)
		check(t, l, start.Add(ledgerMemory), look{})
		if len(l.owners) == 0 {
			t.Error("forgotten too early")
		}
		check(t, l, start.Add(ledgerMemory+1), look{})
		if len(l.owners) != 0 {
			t.Error("kept for ever")
		}
	})
}
