package dns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/service/feed"
)

// state makes the table of what the API told; before that, the table is what was on disk.
type state struct {
	table *table
	dirty chan struct{} // something changed since it was saved
	// told is called without locks held when a Service that the nodes serve may have changed.
	told func()

	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]map[string]*Slice    // by Service, by name
	owners   map[types.NamespacedName]types.NamespacedName // slice to Service
	synced   [2]bool
}

func newState(t *table, told func()) *state {
	return &state{
		table: t, dirty: make(chan struct{}, 1), told: told,
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]map[string]*Slice{},
		owners:   map[types.NamespacedName]types.NamespacedName{},
	}
}

// Which feed has been handed on whole.
const (
	syncedServices = iota
	syncedSlices
)

func (s *state) setService(svc *corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	s.services[key] = svc
	s.compile(key)
}

func (s *state) dropService(k feed.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if svc := s.services[k.NamespacedName]; svc != nil && svc.UID == k.UID {
		delete(s.services, k.NamespacedName)
	}
	s.compile(k.NamespacedName)
}

func (s *state) setSlice(slice *discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}
	owner := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
	if was, ok := s.owners[name]; ok && was != owner {
		s.takeSlice(name)
	}
	if owner.Name == "" {
		return
	}
	if s.slices[owner] == nil {
		s.slices[owner] = map[string]*Slice{}
	}
	s.slices[owner][slice.Name] = NewSlice(slice)
	s.owners[name] = owner
	s.compile(owner)
}

func (s *state) dropSlice(k feed.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeSlice(k.NamespacedName)
}

// takeSlice is called with mu held, as compile is.
func (s *state) takeSlice(name types.NamespacedName) {
	owner, ok := s.owners[name]
	if !ok {
		return
	}
	delete(s.owners, name)
	delete(s.slices[owner], name.Name)
	if len(s.slices[owner]) == 0 {
		delete(s.slices, owner)
	}
	s.compile(owner)
}

// markSynced notes that one feed has been handed on whole. With both, the API's table takes over from the disk's.
func (s *state) markSynced(which int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.complete()
	s.synced[which] = true
	if before || !s.complete() {
		return
	}
	for key := range s.services {
		s.compile(key)
	}
	for _, old := range s.table.all() {
		if key := old.Key(); s.services[key] == nil {
			s.compile(key)
		}
	}
	s.table.setKnown()
	s.changed()
	s.told()
}

func (s *state) complete() bool { return s.synced[syncedServices] && s.synced[syncedSlices] }

// compile brings the table's entry up to date.
func (s *state) compile(key types.NamespacedName) {
	if !s.complete() {
		return // half of what there is would take away names that are well
	}
	old := s.table.service(key.Namespace, key.Name)
	svc := s.services[key]
	if svc == nil {
		if old != nil {
			s.table.drop(key)
			s.noted(old.service.NodeServed)
		}
		return
	}
	all := make([]*Slice, 0, len(s.slices[key]))
	for _, slice := range s.slices[key] {
		all = append(all, slice)
	}
	next := Compile(svc, all)
	if old != nil && next.Equal(&old.service) {
		return
	}
	s.table.set(next)
	s.noted(next.NodeServed || old != nil && old.service.NodeServed)
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
