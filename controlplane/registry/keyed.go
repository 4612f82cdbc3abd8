package registry

import (
	"hash/maphash"
	"sync"
)

// keyedLocks lets one push into a repository run at a time, and pushes into others beside it. Two repositories may
// share a lock; that costs time, not correctness.
type keyedLocks [32]sync.Mutex

var lockSeed = maphash.MakeSeed()

func (l *keyedLocks) lock(key string) (unlock func()) {
	m := &l[maphash.String(lockSeed, key)%uint64(len(l))]
	m.Lock()
	return m.Unlock
}
