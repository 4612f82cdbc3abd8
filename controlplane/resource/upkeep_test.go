package resource

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOldEventsGo(t *testing.T) {
	ns := space(t)
	event := func(name string) *corev1.Event {
		return &corev1.Event{ObjectMeta: meta1(ns, name), InvolvedObject: corev1.ObjectReference{Namespace: ns, Name: "x"}}
	}
	create(t, event("old"))
	seen := event("seen-again")
	seen.LastTimestamp = metav1.NewTime(time.Now().Add(eventLifetime))
	create(t, seen)
	if err := shared.ReapEvents(t.Context()); err != nil {
		t.Fatal(err)
	}
	read(t, event("old"))
	later := shared.cfg
	later.Now = func() time.Time { return time.Now().Add(eventLifetime + time.Minute) }
	r, err := New(later)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.ReapEvents(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := shared.Get(t.Context(), events(), ns, "old", true); !apierrors.IsNotFound(err) {
		t.Errorf("the old event stays: %v", err)
	}
	read(t, event("seen-again"))
}
