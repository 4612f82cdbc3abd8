package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/service/feed"
)

// sink is told of the table's changes, one at a time.
type sink interface {
	apply(Service)
	drop(types.NamespacedName)
}

// settler is a sink that wants to know when the table is whole: after that of last time has been read, and when the
// API's has taken over.
type settler interface{ settled() }

// state is the table as it stands, made of what the API told; before that, of what was on disk.
type state struct {
	sinks []sink
	log   *slog.Logger
	dirty chan struct{} // something changed since it was saved

	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by Service, by name
	owners   map[types.NamespacedName]types.NamespacedName                  // slice to Service
	table    map[types.NamespacedName]Service
	place    Place
	synced   [3]bool
	changes  time.Time // when the table last changed
}

func newState(node string, log *slog.Logger, sinks ...sink) *state {
	return &state{
		place: Place{Node: node}, sinks: sinks, log: log, dirty: make(chan struct{}, 1),
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		owners:   map[types.NamespacedName]types.NamespacedName{},
		table:    map[types.NamespacedName]Service{},
	}
}

// Which feed has been handed on whole.
const (
	syncedServices = iota
	syncedSlices
	syncedNode
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
		s.slices[owner] = map[string]*discoveryv1.EndpointSlice{}
	}
	s.slices[owner][slice.Name] = slice
	s.owners[name] = owner
	s.compile(owner)
}

func (s *state) dropSlice(k feed.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeSlice(k.NamespacedName)
}

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

// markSynced notes that one feed has been handed on whole. With all, the API's table takes over from the disk's.
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
	for key := range s.table {
		if s.services[key] == nil {
			s.compile(key)
		}
	}
	s.settle()
}

func (s *state) settle() {
	for _, sink := range s.sinks {
		if to, ok := sink.(settler); ok {
			to.settled()
		}
	}
}

// setZone notes where the node is. Everything is chosen anew if that is news.
func (s *state) setZone(zone string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place.Zone == zone {
		return
	}
	s.place.Zone = zone
	for key := range s.services {
		s.compile(key)
	}
}

func (s *state) complete() bool { return !slices.Contains(s.synced[:], false) }

// compile brings the table's entry up to date and tells the sinks if it changed. It is called with mu held.
func (s *state) compile(key types.NamespacedName) {
	if !s.complete() {
		return // a part of what there is would take away endpoints that are well
	}
	old, had := s.table[key]
	svc := s.services[key]
	if svc == nil {
		if had {
			delete(s.table, key)
			s.changed()
			for _, sink := range s.sinks {
				sink.drop(key)
			}
		}
		return
	}
	all := make([]*discoveryv1.EndpointSlice, 0, len(s.slices[key]))
	for _, slice := range s.slices[key] {
		all = append(all, slice)
	}
	next := Compile(svc, all, s.place)
	if had && next.Equal(&old) {
		return
	}
	s.table[key] = next
	s.changed()
	for _, sink := range s.sinks {
		sink.apply(next)
	}
}

// lastChange is when the table last changed, zero if it never did.
func (s *state) lastChange() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

func (s *state) changed() {
	s.changes = time.Now()
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

func (s *state) lookup(key types.NamespacedName) (Service, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	svc, ok := s.table[key]
	return svc, ok
}

// stateMode keeps the table to the worker's user.
const stateMode = 0o600

func (s *state) save(path string) error {
	s.mu.Lock()
	all := make([]Service, 0, len(s.table))
	for _, svc := range s.table {
		all = append(all, svc)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Service) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	content, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode service table: %w", err)
	}
	if err := os.WriteFile(path+".partial", content, stateMode); err != nil {
		return fmt.Errorf("write service table: %w", err)
	}
	if err := os.Rename(path+".partial", path); err != nil {
		return fmt.Errorf("write service table: %w", err)
	}
	return nil
}

// load serves the table of last time until the API's is known.
func (s *state) load(path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read service table: %w", err)
	}
	var all []Service
	if err := json.Unmarshal(content, &all); err != nil {
		return fmt.Errorf("decode service table: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, svc := range all {
		s.table[svc.Key()] = svc
		for _, sink := range s.sinks {
			sink.apply(svc)
		}
	}
	s.settle()
	return nil
}
