package users

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

const filePerm = 0o600

// Book says which namespace has which id, and keeps that in a file. It is safe for concurrent use.
type Book struct {
	path string
	ids  Range

	mu    sync.Mutex
	byID  map[uint32]string
	lines []line // in the order in which they were given
	next  uint32 // where the search for a free id goes on
}

type line struct {
	Namespace string `json:"namespace"`
	ID        uint32 `json:"id"`
}

// Open reads the book at path, if there is one. Lines that are outside the range are of another configuration, and go.
func Open(path string, ids Range) (*Book, error) {
	b := &Book{path: path, ids: ids, byID: map[uint32]string{}, next: ids.First}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read user ids: %w", err)
	}
	return b, b.load(raw)
}

func (b *Book) load(raw []byte) error {
	var all []line
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("read user ids: %w", err)
	}
	known := map[string]bool{}
	for _, l := range all {
		if b.ids.Contains(l.ID) && b.byID[l.ID] == "" && l.Namespace != "" && !known[l.Namespace] {
			known[l.Namespace] = true
			b.byID[l.ID] = l.Namespace
			b.lines = append(b.lines, l)
		}
	}
	return nil
}

// Of answers the namespace's id, a new one if it has none. When all are given, running says which of the namespaces have
// a runner: one that has none loses its id. An id that could not be written down is not given.
func (b *Book) Of(namespace string, running func(namespace string) bool) (uint32, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		if l.Namespace == namespace {
			return l.ID, nil
		}
	}
	id, rest, err := b.free(running)
	if err != nil {
		return 0, err
	}
	lines := append(rest, line{Namespace: namespace, ID: id})
	if err := b.save(lines); err != nil {
		return 0, err
	}
	b.lines, b.byID[id] = lines, namespace
	return id, nil
}

// free finds an id, and answers the lines that are kept.
func (b *Book) free(running func(string) bool) (uint32, []line, error) {
	for range b.ids.Count {
		id := b.next
		if b.next++; !b.ids.Contains(b.next) {
			b.next = b.ids.First
		}
		if b.byID[id] == "" {
			return id, b.lines, nil
		}
	}
	for i, l := range b.lines {
		if !running(l.Namespace) {
			rest := append([]line{}, b.lines[:i]...)
			return l.ID, append(rest, b.lines[i+1:]...), nil
		}
	}
	return 0, nil, fmt.Errorf("give a user id: all %d are used by namespaces that have pods: widen the range (--runner-uids)", b.ids.Count)
}

func (b *Book) save(lines []line) error {
	raw, err := json.Marshal(lines)
	if err != nil {
		return fmt.Errorf("write user ids: %w", err)
	}
	tmp := b.path + ".tmp"
	if err = os.WriteFile(tmp, raw, filePerm); err == nil {
		err = os.Rename(tmp, b.path)
	}
	if err != nil {
		return fmt.Errorf("write user ids: %w", err)
	}
	return nil
}
