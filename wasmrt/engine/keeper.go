package engine

import (
	"sync"
	"time"
)

const (
	// keepEvery is how often idle instances are looked at. One that was not needed since the last look is closed.
	keepEvery = 5 * time.Second
	// snapshotRest is how long a snapshot is kept that no pool uses.
	snapshotRest = 5 * time.Minute
)

// keeper gives back what is idle. It has a timer only while there is something of that kind.
type keeper struct {
	mu        sync.Mutex
	pools     map[*Pool]struct{}
	snapshots map[*snapshot]struct{}
	timer     *time.Timer
	closed    bool
}

// watchPool looks after a pool from now on until it has nothing that is idle.
func (k *keeper) watchPool(p *Pool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pools == nil {
		k.pools = map[*Pool]struct{}{}
	}
	k.pools[p] = struct{}{}
	k.arm()
}

// watchSnapshot looks after a snapshot until it is dropped or used again.
func (k *keeper) watchSnapshot(s *snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.snapshots == nil {
		k.snapshots = map[*snapshot]struct{}{}
	}
	k.snapshots[s] = struct{}{}
	k.arm()
}

// arm sets the timer, under mu.
func (k *keeper) arm() {
	if k.timer == nil && !k.closed {
		k.timer = time.AfterFunc(keepEvery, k.tick)
	}
}

// tick looks at everything once. What is put back while it does is seen the next time.
func (k *keeper) tick() {
	k.mu.Lock()
	pools, snapshots := k.pools, k.snapshots
	k.pools, k.snapshots, k.timer = nil, nil, nil
	k.mu.Unlock()
	for p := range pools {
		if p.trim() {
			k.watchPool(p)
		}
	}
	now := time.Now()
	for s := range snapshots {
		if s.program.snapshots.expire(s, now) {
			k.watchSnapshot(s)
		}
	}
}

// close stops the timer. What is idle then is closed with its pool or program.
func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}
