package dns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// state makes the table of what the API told; before that, the table is what was on disk. The catalog calls it, one call
// at a time.
type state struct {
	table *table
	dirty chan struct{} // something changed since it was saved
	// told is called when a Service that the nodes serve may have changed. It must not wait.
	told  func()
	whole bool // the table is the API's
}

func newState(t *table, told func()) *state {
	return &state{table: t, dirty: make(chan struct{}, 1), told: told}
}

// Set implements catalog.Reader.
func (s *state) Set(svc *corev1.Service, all []*discoveryv1.EndpointSlice) {
	old := s.table.service(svc.Namespace, svc.Name)
	next := Compile(svc, all)
	if old != nil && next.Equal(&old.service) {
		return
	}
	s.table.set(next)
	s.noted(next.NodeServed || old != nil && old.service.NodeServed)
}

// Gone implements catalog.Reader.
func (s *state) Gone(key types.NamespacedName) {
	old := s.table.service(key.Namespace, key.Name)
	if old == nil {
		return
	}
	s.table.drop(key)
	s.noted(old.service.NodeServed)
}

// Settled implements catalog.Reader. The API's table takes over from the disk's.
func (s *state) Settled(known func(types.NamespacedName) bool) {
	if s.whole {
		return
	}
	s.whole = true
	for _, old := range s.table.all() {
		if key := old.Key(); !known(key) {
			s.Gone(key)
		}
	}
	s.table.setKnown()
	s.changed()
	s.told()
}

func (s *state) noted(nodeServed bool) {
	s.changed()
	if nodeServed {
		s.told()
	}
}

func (s *state) changed() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// file is what is on disk.
type file struct {
	Services []Service `json:"services"`
	// Fallback says that pods may have been told the port that is used where port 53 is not to be had.
	Fallback bool `json:"fallback,omitempty"`
}

// stateMode keeps the table to the worker's user.
const stateMode = 0o600

func (t *table) save(path string, fallback bool) error {
	content, err := json.Marshal(file{Services: t.all(), Fallback: fallback})
	if err != nil {
		return fmt.Errorf("encode dns table: %w", err)
	}
	if err := os.WriteFile(path+".partial", content, stateMode); err != nil {
		return fmt.Errorf("write dns table: %w", err)
	}
	if err := os.Rename(path+".partial", path); err != nil {
		return fmt.Errorf("write dns table: %w", err)
	}
	return nil
}

// load answers from the table of last time until the API's is known.
func (t *table) load(path string) (fallback bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read dns table: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return false, fmt.Errorf("read dns table: %w", err)
	}
	var all file
	if err := json.Unmarshal(content, &all); err != nil {
		return false, fmt.Errorf("decode dns table: %w", err)
	}
	for _, svc := range all.Services {
		t.set(svc)
	}
	t.setKnown()
	return all.Fallback, nil
}
