package ebpfproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// reaper ends the sockets of backends that left their services. Each pass walks the sockets of all network namespaces
// that the cgroup's processes are in, and ends those whose backend is not there any more, whatever an earlier pass missed.
type reaper struct {
	programs *ebpf.Collection // nil: the kernel cannot end sockets
	walks    map[Protocol]*link.Iter
	kick     chan struct{}
	cancel   context.CancelFunc
	done     chan struct{}
}

// gather is how long a pass waits for more backends that leave: a rolling update takes many away in a row.
const gather = 20 * time.Millisecond

// load brings the iterators in. A kernel before 6.5 has none that end sockets: clients then find out by themselves.
func (r *reaper) load(p *Proxy) {
	r.walks = map[Protocol]*link.Iter{}
	err := r.loadWalks(p)
	if err != nil {
		p.cfg.Logger.Warn("sockets to lost backends will not be ended", "err", err)
	}
}

func (r *reaper) loadWalks(p *Proxy) error {
	spec, err := bpf.LoadIter()
	if err != nil {
		return fmt.Errorf("read iterators: %w", err)
	}
	if r.programs, err = p.loadShared(spec); err != nil {
		return fmt.Errorf("load iterators: %w", err)
	}
	for protocol, name := range map[Protocol]string{TCP: "petrel_end_tcp", UDP: "petrel_end_udp"} {
		it, err := link.AttachIter(link.IterOptions{Program: r.programs.Programs[name]})
		if err != nil {
			return fmt.Errorf("attach iterator %s: %w", name, err)
		}
		r.walks[protocol] = it
	}
	return nil
}

func (r *reaper) start(p *Proxy) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.kick = make(chan struct{}, 1)
	r.done = make(chan struct{})
	go func() {
		defer close(r.done)
		p.reap(ctx)
	}()
	r.wake()
}

func (r *reaper) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	<-r.done
	r.cancel = nil
}

// close lets go of the iterators; the reaper is stopped.
func (r *reaper) close() error {
	var err error
	for _, it := range r.walks {
		err = errors.Join(err, it.Close())
	}
	r.walks = nil
	if r.programs != nil {
		r.programs.Close()
		r.programs = nil
	}
	return err
}

func (r *reaper) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// reap runs until ctx ends.
func (p *Proxy) reap(ctx context.Context) {
	for {
		due, next := p.due(time.Now())
		for protocol, leavers := range due {
			if err := p.walk(protocol); err != nil {
				p.cfg.Logger.Warn("cannot end sockets to lost backends", "protocol", protocol, "err", err)
			}
			p.buried(leavers)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.reaper.kick:
			timer.Reset(gather)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		case <-timer.C:
		}
	}
}

// reapIdle is how long the reaper sleeps when nothing is due.
const reapIdle = time.Hour

// due answers the backends whose sockets are to be ended now, and when the next will be. Datagram sockets have nothing
// to finish; streams get the grace.
func (p *Proxy) due(now time.Time) (map[Protocol]map[uint32]*leaver, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := map[Protocol]map[uint32]*leaver{}
	next := reapIdle
	for id, l := range p.leavers {
		left := l.since.Add(p.cfg.Grace).Sub(now)
		if l.protocol == UDP {
			left = 0
		}
		if left <= 0 && p.servesElsewhere(l) {
			left = p.cfg.Grace
		}
		if left > 0 {
			next = min(next, left)
			continue
		}
		p.setState(id, Backend{Port: l.addr.Port()}, stateDead)
		if due[l.protocol] == nil {
			due[l.protocol] = map[uint32]*leaver{}
		}
		due[l.protocol][id] = l
	}
	return due, next
}

// buried gives the entries of ended backends back.
func (p *Proxy) buried(leavers map[uint32]*leaver) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for id, l := range leavers {
		p.free(id, l, now)
	}
}

// walk runs the iterator of a protocol in each network namespace.
func (p *Proxy) walk(protocol Protocol) error {
	it := p.reaper.walks[protocol]
	if it == nil {
		return nil
	}
	return eachNetns(p.cfg.CgroupPath, func() error {
		r, err := it.Open()
		if err != nil {
			return fmt.Errorf("open iterator: %w", err)
		}
		_, err = io.Copy(io.Discard, r)
		return errors.Join(err, r.Close())
	})
}
