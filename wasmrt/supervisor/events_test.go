package supervisor

import (
	"testing"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestBroadcaster(t *testing.T) {
	b := newBroadcaster()
	b.publish(func() *runtimev1.ContainerEventResponse { t.Error("made for nobody"); return nil })
	slow, quick, left := b.subscribe(), b.subscribe(), b.subscribe()
	b.unsubscribe(left)
	for i := range maxQueuedEvents + 1 {
		b.publish(func() *runtimev1.ContainerEventResponse {
			return &runtimev1.ContainerEventResponse{CreatedAt: int64(i)}
		})
		if e := <-quick.events; e.CreatedAt != int64(i) {
			t.Fatalf("event %d instead of %d", e.CreatedAt, i)
		}
	}
	select {
	case <-slow.ended:
	default:
		t.Fatal("who falls behind keeps its stream")
	}
	if !slow.behind || len(left.events) != 0 || len(b.subs) != 1 {
		t.Errorf("behind %v, left %d, subscribers %d", slow.behind, len(left.events), len(b.subs))
	}
	b.close()
	<-quick.ended
	if late := b.subscribe(); quick.behind {
		t.Error("the end is told as falling behind")
	} else {
		<-late.ended
	}
}
