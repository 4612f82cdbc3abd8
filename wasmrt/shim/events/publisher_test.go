package events

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/api/events"
	service "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// containerd is the side that takes events.
type containerd struct {
	mu     sync.Mutex
	refuse int // so many calls
	got    []*types.Envelope
	came   chan struct{}
}

func (c *containerd) Forward(_ context.Context, r *service.ForwardRequest) (*emptypb.Empty, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse > 0 {
		c.refuse--
		return nil, errors.New("not yet")
	}
	c.got = append(c.got, r.Envelope)
	c.came <- struct{}{}
	return &emptypb.Empty{}, nil
}

func (c *containerd) serve(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	service.RegisterTTRPCEventsService(s, c)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
}

func TestPublish(t *testing.T) {
	dir, err := os.MkdirTemp("", "evt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	now := time.Unix(1, 2)
	p := New(Config{Address: socket, Namespace: "k8s.io", Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { p.Run(ctx); close(ended) }()
	p.Publish(TaskCreate, &events.TaskCreate{ContainerID: "a", Pid: 7}) // nobody listens yet
	p.Publish(TaskExit, &events.TaskExit{ContainerID: "a", ExitStatus: 3})
	c := &containerd{refuse: 1, came: make(chan struct{}, 8)}
	c.serve(t, socket)
	<-c.came
	<-c.came
	cancel()
	<-ended
	first, second := c.got[0], c.got[1]
	if first.Topic != TaskCreate || second.Topic != TaskExit || first.Namespace != "k8s.io" || !first.Timestamp.AsTime().Equal(now) {
		t.Errorf("%v, %v", first, second)
	}
	if url := second.Event.TypeUrl; url != "containerd.events.TaskExit" {
		t.Errorf("type %s", url)
	}
	var exit events.TaskExit
	if err := proto.Unmarshal(second.Event.Value, &exit); err != nil || exit.ExitStatus != 3 {
		t.Errorf("%v, %v", &exit, err)
	}
}

// TestNobodyIsTold: without an address nothing waits, with a dead one the end comes all the same.
func TestNobodyIsTold(t *testing.T) {
	for _, address := range []string{"", "/none/here"} {
		p := New(Config{Address: address, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
		for range maxQueued + 1 {
			p.Publish(TaskStart, &events.TaskStart{})
		}
		want := maxQueued
		if address == "" {
			want = 0
		}
		if got := len(p.queue); got != want {
			t.Errorf("%q: %d wait, want %d", address, got, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.Run(ctx)
	}
}
