package ebpfproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/ebpfproxy/bpf"
)

// Kinds and states of entries, as in bpf/nat.h.
const (
	natForward = 1
	natReply   = 2
	natHalf    = 3

	natAnswered   = 1
	natFinClient  = 2
	natFinBackend = 4
	natReset      = 8
)

const (
	// natSweepInterval is how long an entry may outlive its timeout, and an interface be missed.
	natSweepInterval = 10 * time.Second

	// natBatch is how many entries one system call reads.
	natBatch = 2048
)

// Run sweeps the table and looks after the interfaces until ctx ends. Its thread's network namespace is that of the
// interfaces.
func (n *NAT) Run(ctx context.Context) error {
	tick := time.NewTicker(natSweepInterval)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		text := ""
		if err := n.tend(); err != nil {
			text = err.Error()
		}
		if text != "" && text != said {
			n.cfg.Logger.Warn("packets from outside may be missed", "err", text)
		}
		said = text
	}
}

// tend does what Run does each time.
func (n *NAT) tend() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.programs == nil {
		return ErrClosed
	}
	now, err := kernelNow()
	if err == nil {
		err = n.sweep(now)
	}
	n.tell()
	return errors.Join(err, n.attach())
}

// tell says what went wrong in the kernel since it was last asked.
func (n *NAT) tell() {
	s, err := n.stats()
	if err != nil {
		n.cfg.Logger.Warn("nat counters cannot be read", "err", err)
		return
	}
	if new := s.Exhausted - n.last.Exhausted; new > 0 {
		n.cfg.Logger.Warn("no port was left for connections from outside: new ones were dropped", "connections", new,
			"ports", int(n.cfg.PortMax)-int(n.cfg.PortMin)+1, "reused", s.Reused-n.last.Reused)
	}
	if new := s.Full - n.last.Full; new > 0 {
		n.cfg.Logger.Warn("the table of connections from outside took no more: new ones were dropped", "connections", new,
			"limit", n.cfg.Connections)
	}
	n.last = s
}

// sweep deletes what has timed out at a time of kernelNow.
func (n *NAT) sweep(now uint64) error {
	m := n.programs.Maps["petrel_nat"]
	keys := make([]bpf.NatNatTuple, natBatch)
	values := make([]bpf.NatNatEntry, natBatch)
	var cursor ebpf.MapBatchCursor
	entries := 0
	for {
		count, err := m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read connections: %w", err)
		}
		entries += count
		for i := range count {
			if err := n.expire(m, &keys[i], &values[i], now); err != nil {
				return err
			}
		}
		if err != nil {
			n.entries = entries
			return nil
		}
	}
}

// expire deletes the entry, and its peer, when neither was used for its timeout.
func (n *NAT) expire(m *ebpf.Map, key *bpf.NatNatTuple, e *bpf.NatNatEntry, now uint64) error {
	timeout := n.timeout(key, e)
	if e.Kind != natHalf && n.proxy.natBackendGone(Protocol(key.Proto), e.Backend, e.Gen) {
		timeout = min(timeout, n.cfg.Timeouts.Closing)
	}
	if idle(e, now) < timeout {
		return nil
	}
	if e.Kind == natHalf {
		return remove(m, key, e)
	}
	peerKey := natPeer(key, e)
	var peer bpf.NatNatEntry
	err := m.Lookup(&peerKey, &peer)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return remove(m, key, e)
	}
	if err != nil {
		return fmt.Errorf("read connection: %w", err)
	}
	if natPeer(&peerKey, &peer) != *key {
		return remove(m, key, e) // its port has gone to another
	}
	if idle(&peer, now) < timeout {
		return nil
	}
	return errors.Join(remove(m, key, e), remove(m, &peerKey, &peer))
}

// natBackendGone tells whether the programs send nothing more to that backend, as nat_forward does.
func (p *Proxy) natBackendGone(proto Protocol, id, gen uint32) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.tables == nil || int(id) >= len(p.tables.backends.at) {
		return false
	}
	b := &p.tables.backends.at[id]
	return b.Gen != gen || b.State == stateFree || b.State == stateDead || (proto != TCP && b.State == stateLeaving)
}

// remove deletes an entry that was seen as e. One that was used meanwhile is put back.
func remove(m *ebpf.Map, key *bpf.NatNatTuple, e *bpf.NatNatEntry) error {
	var found bpf.NatNatEntry
	err := m.LookupAndDelete(key, &found)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete connection: %w", err)
	}
	if found.Last == e.Last {
		return nil
	}
	if err := m.Update(key, &found, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("put connection back: %w", err)
	}
	return nil
}

func (n *NAT) timeout(key *bpf.NatNatTuple, e *bpf.NatNatEntry) time.Duration {
	t := &n.cfg.Timeouts
	const bothFin = natFinClient | natFinBackend
	answered := e.State&natAnswered != 0
	switch {
	case e.Kind == natHalf:
		return t.Datagram
	case Protocol(key.Proto) == UDP && answered:
		return t.Stream
	case Protocol(key.Proto) == UDP:
		return t.Datagram
	case e.State&natReset != 0 || e.State&bothFin == bothFin:
		return t.Closing
	case answered:
		return t.Established
	}
	return t.Opening
}

// idle is how long ago an entry was used. A processor's clock may be a little ahead of ours.
func idle(e *bpf.NatNatEntry, now uint64) time.Duration {
	if e.Last >= now {
		return 0
	}
	return time.Duration(now - e.Last)
}

// natPeer is the key of the other entry of a connection: the ends of this one's value, swapped.
func natPeer(key *bpf.NatNatTuple, e *bpf.NatNatEntry) bpf.NatNatTuple {
	return bpf.NatNatTuple{Src: e.Dst, Dst: e.Src, Sport: e.Dport, Dport: e.Sport, Proto: key.Proto}
}

// kernelNow is the time that programs stamp entries with.
func kernelNow() (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read clock: %w", err)
	}
	return uint64(ts.Nano()), nil
}
