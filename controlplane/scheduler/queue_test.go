package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func withPriority(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Priority = ptr.To(n) }
}

func popName(q *Queue, now time.Time) string {
	p := q.Pop(now)
	if p == nil {
		return ""
	}
	return p.Object.Name
}

func TestQueueOrder(t *testing.T) {
	q := NewQueue()
	q.Put(NewPod(pod("late")), false, epoch.Add(time.Second))
	q.Put(NewPod(pod("early")), false, epoch)
	q.Put(NewPod(pod("early-too")), false, epoch)
	q.Put(NewPod(pod("urgent", withPriority(10))), false, epoch.Add(time.Minute))
	for _, want := range []string{"urgent", "early", "early-too", "late", ""} {
		if got := popName(q, epoch.Add(time.Minute)); got != want {
			t.Fatalf("popped %q, want %q", got, want)
		}
	}
}

func TestQueueBackoff(t *testing.T) {
	q := NewQueue()
	q.Put(NewPod(pod("p")), false, epoch)
	now := epoch
	for _, wait := range []time.Duration{1, 2, 4, 8, 10, 10} {
		if popName(q, now) != "p" {
			t.Fatalf("not due at %s", now.Sub(epoch))
		}
		q.Retry("uid-p", now)
		if at, ok := q.Next(); !ok || at.Sub(now) != wait*time.Second {
			t.Fatalf("next in %s, want %ds", at.Sub(now), wait)
		}
		if got := popName(q, now.Add(wait*time.Second-1)); got != "" {
			t.Fatal("tried before its backoff was over")
		}
		now = now.Add(wait * time.Second)
	}
}

func TestQueueParking(t *testing.T) {
	q := NewQueue()
	q.Put(NewPod(pod("p")), false, epoch)
	q.Pop(epoch)
	q.Park("uid-p", epoch)
	if got := popName(q, epoch.Add(flushAfter-1)); got != "" {
		t.Fatal("a parked pod was tried without a reason")
	}
	if n := q.Wake(func(*Pod) bool { return false }, epoch); n != 0 {
		t.Fatal("woken by what does not help")
	}
	if n := q.Wake(func(*Pod) bool { return true }, epoch.Add(2*time.Second)); n != 1 {
		t.Fatal("not woken by what helps")
	}
	if got := popName(q, epoch.Add(2*time.Second)); got != "p" {
		t.Fatal("its backoff is over, but it is not due")
	}
	q.Park("uid-p", epoch.Add(2*time.Second))
	if at, ok := q.Next(); !ok || !at.Equal(epoch.Add(2*time.Second+flushAfter)) {
		t.Fatalf("next flush at %v", at)
	}
	if got := popName(q, epoch.Add(2*time.Second+flushAfter)); got != "p" {
		t.Fatal("not flushed")
	}
}

func TestQueueWakeKeepsBackoff(t *testing.T) {
	q := NewQueue()
	q.Put(NewPod(pod("p")), false, epoch)
	q.Pop(epoch)
	q.Park("uid-p", epoch)
	q.Wake(func(*Pod) bool { return true }, epoch)
	if got := popName(q, epoch.Add(firstBackoff-1)); got != "" {
		t.Fatal("an event storm defeats the backoff")
	}
	if got := popName(q, epoch.Add(firstBackoff)); got != "p" {
		t.Fatal("not due after its backoff")
	}
}

func TestQueueChangeInFlight(t *testing.T) {
	q := NewQueue()
	q.Put(NewPod(pod("p")), false, epoch)
	q.Pop(epoch)
	q.Put(NewPod(pod("p", tolerating("x"))), true, epoch)
	q.Park("uid-p", epoch)
	if p := q.Pop(epoch.Add(firstBackoff)); p == nil || len(p.Object.Spec.Tolerations) != 1 {
		t.Fatal("a change during the attempt is lost")
	}
	q.Delete("uid-p")
	q.Park("uid-p", epoch)
	q.Retry("uid-p", epoch)
	if _, ok := q.Next(); ok || q.Len() != 0 {
		t.Fatal("a deleted pod came back")
	}
}

// TestQueueLosesNothing drives the queue at random: every pod is in exactly one place and each not deleted is popped
// in the end.
func TestQueueLosesNothing(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		q, now := NewQueue(), epoch
		want, flying := map[types.UID]bool{}, map[types.UID]bool{}
		for range 500 {
			now = now.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
			name := fmt.Sprintf("p%d", r.IntN(20))
			uid := types.UID("uid-" + name)
			switch r.IntN(6) {
			case 0, 1:
				q.Put(NewPod(pod(name, withPriority(int32(r.IntN(3))))), r.IntN(2) == 0, now)
				want[uid] = true
			case 2:
				q.Delete(uid)
				delete(want, uid)
				delete(flying, uid)
			case 3:
				if p := q.Pop(now); p != nil {
					if flying[p.UID()] || !want[p.UID()] {
						t.Fatalf("seed %d: popped %s twice or after its deletion", seed, p.Object.Name)
					}
					flying[p.UID()] = true
				}
			case 4:
				for u := range flying {
					if r.IntN(2) == 0 {
						q.Park(u, now)
					} else {
						q.Retry(u, now)
					}
					delete(flying, u)
				}
			case 5:
				q.Wake(func(p *Pod) bool { return r.IntN(2) == 0 }, now)
			}
			in := len(q.active.items) + len(q.backoff.items) + len(q.parked.items) + len(flying)
			if in != len(want) || q.Len() != len(want) {
				t.Fatalf("seed %d: %d pods in places, %d known, want %d", seed, in, q.Len(), len(want))
			}
		}
		for u := range flying {
			q.Park(u, now)
		}
		now = now.Add(flushAfter + lastBackoff)
		for p := q.Pop(now); p != nil; p = q.Pop(now) {
			delete(want, p.UID())
		}
		if len(want) != 0 {
			t.Fatalf("seed %d: never due: %v", seed, want)
		}
	}
}
