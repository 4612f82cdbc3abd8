package identity

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRenewal runs a node whose certificates last seconds, with a watch open over several of them.
func TestRenewal(t *testing.T) {
	const life = 9 * time.Second // a third of it is what a busy machine has to renew
	p := start(t, life)
	m := p.machine(t, "short").with(p.token(t, time.Hour))
	i := m.mustOpen(t)
	first, firstServing := i.client.Leaf.SerialNumber.String(), i.serving.Load().Leaf.SerialNumber.String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	client := i.kubernetes(t)
	watch, err := client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
	ok(t, err)
	for begun := time.Now(); time.Since(begun) < life+time.Second; time.Sleep(100 * time.Millisecond) {
		if got := i.whoami(t); !strings.HasPrefix(got, "system:node:short ") {
			t.Fatal(got)
		}
	}
	_, err = p.registry.Client("test").Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "seen"}})
	ok(t, err)
	select {
	case e, open := <-watch.ResultChan():
		if !open || e.Object.(*corev1.Node).Name != "seen" {
			t.Errorf("the watch was broken: %+v", e)
		}
	case <-time.After(60 * time.Second):
		t.Error("the watch tells nothing")
	}
	watch.Stop()
	cancel()
	ok(t, <-done)
	if i.client.Leaf.SerialNumber.String() == first || i.serving.Load().Leaf.SerialNumber.String() == firstServing {
		t.Error("a certificate was not renewed")
	}
	m.modes(t)
	// A node that was away for longer than its certificate lasts needs a token, and is told so.
	m.Token, m.CAHash = "", ""
	m.Now = func() time.Time { return time.Now().Add(time.Minute) }
	wrong(t, m, "certificate ended at", "petrel token create")
}

func TestRenewalIsDue(t *testing.T) {
	p := start(t, time.Hour)
	i := p.machine(t, "due").with(p.token(t, time.Hour)).mustOpen(t)
	leaf, since := i.client.Leaf, i.client.since
	life := leaf.NotAfter.Sub(since)
	latest, earliest := i.due(i.clientWant(), 0), i.due(i.clientWant(), 1.0/jitterShare)
	if got := latest.Sub(since); (got - life*2/3).Abs() > time.Second {
		t.Errorf("due after %s of %s", got, life)
	}
	if !earliest.Before(latest) || latest.Sub(earliest) > life/jitterShare {
		t.Errorf("spread from %s to %s", earliest, latest)
	}
	// With the API away the node keeps what it has and tries less and less often.
	i.cfg.Server = "https://127.0.0.1:1"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	pause := time.Duration(0)
	for range 12 {
		next := i.attempt(ctx, i.servingWant(), pause)
		if next < pause || next < renewRetryFirst || next > renewRetryLast {
			t.Fatalf("%s after %s", next, pause)
		}
		pause = next
	}
	if pause != renewRetryLast || i.client.Leaf != leaf {
		t.Fatal(pause)
	}
}
