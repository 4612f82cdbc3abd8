package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	service "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// maxQueued bounds what waits: a pod makes some ten events in its life.
	maxQueued = 1 << 14
	// attempts and pause bound how long one event is tried: a restart of containerd takes less.
	attempts = 20
	pause    = 500 * time.Millisecond
	// callTime bounds one attempt.
	callTime = 5 * time.Second
)

// Topics, as containerd names them.
const (
	TaskCreate = "/tasks/create"
	TaskStart  = "/tasks/start"
	TaskOOM    = "/tasks/oom"
	TaskExit   = "/tasks/exit"
	TaskDelete = "/tasks/delete"

	TaskExecAdded   = "/tasks/exec-added"
	TaskExecStarted = "/tasks/exec-started"
)

// Config is what a Publisher needs.
type Config struct {
	// Address is containerd's ttrpc socket; empty: nobody is told.
	Address string
	// Namespace is containerd's.
	Namespace string
	Logger    *slog.Logger
	Now       func() time.Time
}

// Publisher hands events to containerd. It is safe for concurrent use.
type Publisher struct {
	cfg   Config
	queue chan *types.Envelope
	conn  *ttrpc.Client
}

// New returns a publisher. It does no I/O; Run sends.
func New(cfg Config) *Publisher {
	return &Publisher{cfg: cfg, queue: make(chan *types.Envelope, maxQueued)}
}

// Publish hands an event over to be sent.
func (p *Publisher) Publish(topic string, event proto.Message) {
	if p.cfg.Address == "" {
		return
	}
	raw, err := proto.Marshal(event)
	if err != nil {
		p.cfg.Logger.Error("event not encoded", "topic", topic, "error", err)
		return
	}
	e := &types.Envelope{Timestamp: timestamppb.New(p.cfg.Now()), Namespace: p.cfg.Namespace, Topic: topic,
		// containerd's types are named without the host that protobuf's own tools put before them.
		Event: &anypb.Any{TypeUrl: string(event.ProtoReflect().Descriptor().FullName()), Value: raw}}
	select {
	case p.queue <- e:
	default:
		p.cfg.Logger.Error("event dropped: too many wait", "topic", topic)
	}
}

// Run sends until ctx ends, and then what is left, once.
func (p *Publisher) Run(ctx context.Context) {
	defer p.disconnect()
	for {
		select {
		case e := <-p.queue:
			p.deliver(ctx, e)
		case <-ctx.Done():
			for {
				select {
				case e := <-p.queue:
					p.deliver(ctx, e)
				default:
					return
				}
			}
		}
	}
}

// deliver tries until containerd has the event. When ctx has ended, it tries once.
func (p *Publisher) deliver(ctx context.Context, e *types.Envelope) {
	var err error
	for range attempts {
		if err = p.send(e); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			p.cfg.Logger.Warn("event dropped at the end", "topic", e.Topic, "error", err)
			return
		case <-time.After(pause):
		}
	}
	p.cfg.Logger.Warn("event dropped: containerd does not take it", "topic", e.Topic, "error", err)
}

func (p *Publisher) send(e *types.Envelope) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if p.conn == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(p.cfg.Address, "unix://"))
		if err != nil {
			return fmt.Errorf("dial containerd: %w", err)
		}
		p.conn = ttrpc.NewClient(conn)
	}
	_, err := service.NewTTRPCEventsClient(p.conn).Forward(ctx, &service.ForwardRequest{Envelope: e})
	if err != nil {
		p.disconnect()
		return fmt.Errorf("forward event: %w", err)
	}
	return nil
}

func (p *Publisher) disconnect() {
	if p.conn == nil {
		return
	}
	if err := p.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		p.cfg.Logger.Debug("connection to containerd not closed", "error", err)
	}
	p.conn = nil
}
