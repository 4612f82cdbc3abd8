package ebpfproxy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// FlowsConfig of Flows.
type FlowsConfig struct {
	// Enforcer is open, and stays open longer than anyone listens: its programs see connections, whether pods are
	// isolated or not.
	Enforcer *Enforcer
	Logger   *slog.Logger // nil: slog.Default()
	// PodName names the pod that has an address; "" where there is none. It may be nil.
	PodName func(netip.Addr) string
	// Sample tells of one in so many of the connections that pass. 0, 1: of each. What is denied or refused always is.
	Sample int
	// Queue is how many events wait for each listener; those that find no room are counted as lost. 0: the default.
	Queue int
}

const (
	// defaultFlowQueue is what a listener may be behind: a third of a second of a node's busiest.
	defaultFlowQueue = 4096
	maxFlowQueue     = 1 << 20
	maxFlowSample    = 1 << 20

	mapFlows    = "petrel_flows"
	mapFlowConf = "petrel_flowconf"

	// flowClockAge is how old the difference between the two clocks may get.
	flowClockAge = time.Second

	// flowPeriod is how often the ring is looked into, and so how late an event may be.
	flowPeriod = 20 * time.Millisecond
)

// Validate tells all that is wrong with a FlowsConfig.
func (c FlowsConfig) Validate() error {
	var errs []error
	if c.Enforcer == nil {
		errs = append(errs, errors.New("enforcer: missing"))
	}
	if c.Sample < 0 || c.Sample > maxFlowSample {
		errs = append(errs, fmt.Errorf("sample %d: want 1 to %d", c.Sample, maxFlowSample))
	}
	if c.Queue < 0 || c.Queue > maxFlowQueue {
		errs = append(errs, fmt.Errorf("queue %d: want 1 to %d", c.Queue, maxFlowQueue))
	}
	return errors.Join(errs...)
}

// Flows tells of connections as they happen. While nobody listens the kernel records nothing.
type Flows struct {
	cfg FlowsConfig

	mu        sync.Mutex // held while reading starts and ends
	listeners map[*flowQueue]struct{}
	reading   *flowReading

	fan sync.Mutex // guards listeners against the reading goroutine
}

// flowQueue is one listener's.
type flowQueue struct {
	events chan Flow
	lost   uint64 // events without room since the last that had
}

// NewFlows makes Flows that nobody listens to.
func NewFlows(cfg FlowsConfig) (*Flows, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("new flows: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Queue == 0 {
		cfg.Queue = defaultFlowQueue
	}
	if cfg.PodName == nil {
		cfg.PodName = func(netip.Addr) string { return "" }
	}
	return &Flows{cfg: cfg, listeners: map[*flowQueue]struct{}{}}, nil
}

// Flows answers what happens from the moment that it is ranged over, until ctx ends. Each call has a queue of its own.
func (f *Flows) Flows(ctx context.Context) iter.Seq[Flow] {
	return func(yield func(Flow) bool) {
		q, done, err := f.join()
		if err != nil {
			f.cfg.Logger.Error("flows cannot be read", "err", err)
			return
		}
		defer f.leave(q)
		for {
			select {
			case <-ctx.Done():
				return
			case <-done:
				return // the maps were closed
			case flow := <-q.events:
				if !yield(flow) {
					return
				}
			}
		}
	}
}

func (f *Flows) join() (*flowQueue, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reading == nil {
		r, err := f.startReading()
		if err != nil {
			return nil, nil, err
		}
		f.reading = r
	}
	q := &flowQueue{events: make(chan Flow, f.cfg.Queue)}
	f.fan.Lock()
	f.listeners[q] = struct{}{}
	f.fan.Unlock()
	return q, f.reading.done, nil
}

func (f *Flows) leave(q *flowQueue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fan.Lock()
	delete(f.listeners, q)
	last := len(f.listeners) == 0
	f.fan.Unlock()
	if !last {
		return
	}
	if err := f.reading.stop(); err != nil {
		f.cfg.Logger.Warn("flows were not let go of", "err", err)
	}
	f.reading = nil
}

// hand gives an event to each listener.
func (f *Flows) hand(flow Flow, lost uint64) {
	f.fan.Lock()
	defer f.fan.Unlock()
	for q := range f.listeners {
		q.lost += lost
		flow.Lost = q.lost
		select {
		case q.events <- flow:
			q.lost = 0
		default:
			q.lost++
		}
	}
}

// flowReading is the time in which somebody listens.
type flowReading struct {
	enforcer *Enforcer
	ring     *ebpf.Map
	reader   *ringbuf.Reader
	conf     mapped[bpf.PolicyFlowConf]
	done     chan struct{} // closed when no more is read
}

func (f *Flows) startReading() (r *flowReading, err error) {
	conf, ring, err := f.cfg.Enforcer.listen()
	if err != nil {
		return nil, err
	}
	r = &flowReading{enforcer: f.cfg.Enforcer, done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.conf, err = mapArray[bpf.PolicyFlowConf](conf); err != nil {
		return r, err
	}
	if r.ring, err = ring.Clone(); err != nil {
		return r, err
	}
	if r.reader, err = ringbuf.NewReader(r.ring); err != nil {
		return r, err
	}
	switches := &r.conf.at[0]
	atomic.StoreUint32(&switches.Sample, uint32(f.cfg.Sample))
	atomic.StoreUint32(&switches.Listening, 1)
	go f.read(r, atomic.LoadUint64(&switches.Lost), monotonicNow())
	return r, nil
}

// read hands events on until the reader is closed. What an earlier reading left in the ring is not for anyone here.
func (f *Flows) read(r *flowReading, lost uint64, from time.Duration) {
	defer close(r.done)
	var record ringbuf.Record
	var clock flowClock
	r.reader.SetDeadline(time.Now().Add(flowPeriod))
	for {
		err := r.reader.ReadInto(&record)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.reader.SetDeadline(time.Now().Add(flowPeriod))
			continue
		}
		if err != nil {
			f.cfg.Logger.Error("flows end", "err", err)
			return
		}
		event, err := decodeFlow(record.RawSample)
		if err != nil {
			f.cfg.Logger.Error("flow is not told", "err", err)
			continue
		}
		if event.monotonic < from {
			continue
		}
		missed := uint64(0)
		if event.lost > lost { // processors overtake one another
			missed, lost = event.lost-lost, event.lost
		}
		event.Time = clock.wall(event.monotonic)
		event.SourcePod = f.cfg.PodName(event.Source.Addr())
		event.DestinationPod = f.cfg.PodName(event.Destination.Addr())
		if event.service != 0 {
			event.Service, _ = f.cfg.Enforcer.cfg.Proxy.names(event.service, 0)
		}
		f.hand(event.Flow, missed)
	}
}

// stop ends the recording and waits for the reading goroutine.
func (r *flowReading) stop() error {
	atomic.StoreUint32(&r.conf.at[0].Listening, 0)
	err := r.reader.Close()
	<-r.done
	r.reader = nil
	return errors.Join(err, r.close())
}

func (r *flowReading) close() error {
	var err error
	if r.reader != nil {
		err = r.reader.Close()
	}
	if r.ring != nil {
		err = errors.Join(err, r.ring.Close())
	}
	return errors.Join(err, r.conf.close(), r.enforcer.unlisten())
}

// flowClock tells what the wall clock showed at a time of the kernel's.
type flowClock struct {
	boot time.Time // the wall clock's, at the monotonic clock's zero
	read time.Duration
}

func (c *flowClock) wall(at time.Duration) time.Time {
	if at-c.read > flowClockAge || c.boot.IsZero() {
		c.read = monotonicNow()
		c.boot = time.Now().Round(0).Add(-c.read)
	}
	return c.boot.Add(at)
}

func monotonicNow() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // cannot happen: every Linux has that clock
	}
	return time.Duration(ts.Nano())
}
