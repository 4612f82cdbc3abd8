package supervisor

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxQueuedEvents bounds what waits for one subscriber. Whoever falls behind further loses the stream, and has to list
// when it comes again, rather than miss an event without knowing.
const maxQueuedEvents = 4096

// broadcaster hands events to those who listen.
type broadcaster struct {
	mu     sync.Mutex
	subs   map[*subscription]struct{}
	closed bool
}

type subscription struct {
	events chan *runtimev1.ContainerEventResponse
	ended  chan struct{} // closed when it fell behind, or with the broadcaster
	behind bool          // guarded by the broadcaster's mutex; read after ended
}

func newBroadcaster() *broadcaster { return &broadcaster{subs: map[*subscription]struct{}{}} }

func (b *broadcaster) subscribe() *subscription {
	sub := &subscription{events: make(chan *runtimev1.ContainerEventResponse, maxQueuedEvents), ended: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		close(sub.ended)
	} else {
		b.subs[sub] = struct{}{}
	}
	return sub
}

func (b *broadcaster) unsubscribe(sub *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subs, sub)
}

// publish makes the event, if anybody listens, and hands it to all. Making it under the mutex keeps events in order.
func (b *broadcaster) publish(event func() *runtimev1.ContainerEventResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.subs) == 0 {
		return
	}
	e := event()
	for sub := range b.subs {
		select {
		case sub.events <- e:
		default:
			sub.behind = true
			delete(b.subs, sub)
			close(sub.ended)
		}
	}
}

func (b *broadcaster) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for sub := range b.subs {
		delete(b.subs, sub)
		close(sub.ended)
	}
}

// announce tells an event of a container, or of the sandbox itself, with the state of the whole pod.
func (s *Supervisor) announce(b *sandbox, id string, kind runtimev1.ContainerEventType) {
	s.tidy.changed()
	s.events.publish(func() *runtimev1.ContainerEventResponse {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return &runtimev1.ContainerEventResponse{
			ContainerId: id, ContainerEventType: kind, CreatedAt: s.cfg.Now().UnixNano(),
			PodSandboxStatus: b.status(), ContainersStatuses: b.containerStatuses(),
		}
	})
}

// GetContainerEvents streams what happens from now on, until the client leaves or falls behind.
func (s *Supervisor) GetContainerEvents(_ *runtimev1.GetEventsRequest, stream grpc.ServerStreamingServer[runtimev1.ContainerEventResponse]) error {
	sub := s.events.subscribe()
	defer s.events.unsubscribe(sub)
	if err := stream.SendHeader(nil); err != nil { // so that the client knows that it is subscribed
		return err
	}
	for {
		select {
		case e := <-sub.events:
			if err := stream.Send(e); err != nil {
				return err
			}
		case <-sub.ended:
			if sub.behind {
				return status.Errorf(codes.ResourceExhausted, "more than %d events wait: list and subscribe again", maxQueuedEvents)
			}
			return status.Error(codes.Unavailable, "the runtime is ending")
		case <-stream.Context().Done():
			return nil
		}
	}
}
