package ebpfproxy

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// mirrorBatch is how many entries one system call writes: enough that its price does not count, few enough that the
// buffers stay small.
const mirrorBatch = 4096

// mirror is a map of the kernel's that only this process writes, and what it holds.
type mirror[K, V comparable] struct {
	table string // a field of PolicySizes
	m     *ebpf.Map
	have  map[K]V
	holds int // of what was wanted last, after put was through; -1: it was not
}

// newMirror reads what is in the map already.
func newMirror[K, V comparable](table string, m *ebpf.Map) (*mirror[K, V], error) {
	t := &mirror[K, V]{table: table, m: m, have: map[K]V{}, holds: -1}
	var key K
	var value V
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		t.have[key] = value
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, err)
	}
	return t, nil
}

// put writes what is wanted and not there. After an error it knows what fitted.
func (t *mirror[K, V]) put(want map[K]V) error {
	t.holds = -1
	var keys []K
	var values []V
	for key, value := range want {
		if old, ok := t.have[key]; !ok || old != value {
			keys, values = append(keys, key), append(values, value)
		}
	}
	for len(keys) > 0 {
		n := min(len(keys), mirrorBatch)
		done, err := t.m.BatchUpdate(keys[:n], values[:n], nil)
		for i := range done {
			t.have[keys[i]] = values[i]
		}
		if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
			return &FullError{Table: t.table, Limit: int(t.m.MaxEntries()), Missing: len(keys) - done}
		}
		if err != nil {
			return fmt.Errorf("write to table %s: %w", t.table, err)
		}
		keys, values = keys[n:], values[n:]
	}
	t.holds = len(want)
	return nil
}

// drop deletes what is not wanted.
func (t *mirror[K, V]) drop(want map[K]V) error {
	if t.holds == len(want) && len(t.have) == len(want) {
		return nil // all that is wanted is there, and as much as that
	}
	var keys []K
	for key := range t.have {
		if _, ok := want[key]; !ok {
			keys = append(keys, key)
		}
	}
	for len(keys) > 0 {
		n := min(len(keys), mirrorBatch)
		done, err := t.m.BatchDelete(keys[:n], nil)
		for _, key := range keys[:done] {
			delete(t.have, key)
		}
		if err != nil && !(errors.Is(err, ebpf.ErrKeyNotExist) && done < n) {
			return fmt.Errorf("delete from table %s: %w", t.table, err)
		}
		if err != nil { // gone without us: as good
			delete(t.have, keys[done])
			done++
		}
		keys = keys[done:]
	}
	return nil
}
