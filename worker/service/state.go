package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
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

	mu      sync.Mutex
	table   map[types.NamespacedName]Service
	place   Place
	placed  bool      // where the node is is known
	whole   bool      // the table is the API's
	loaded  bool      // that of last time has been read
	early   []func()  // what waits for that
	changes time.Time // when the table last changed
}

func newState(node string, log *slog.Logger, sinks ...sink) *state {
	return &state{
		place: Place{Node: node}, sinks: sinks, log: log, dirty: make(chan struct{}, 1), table: map[types.NamespacedName]Service{},
	}
}

// Set implements catalog.Reader.
func (s *state) Set(svc *corev1.Service, all []*discoveryv1.EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.placed {
		return // it is told again when the node's place is known
	}
	s.set(Compile(svc, all, s.place))
}

// set is called with mu held.
func (s *state) set(next Service) {
	key := next.Key()
	if old, had := s.table[key]; had && next.Equal(&old) {
		return
	}
	s.table[key] = next
	s.changed()
	for _, sink := range s.sinks {
		sink.apply(next)
	}
}

// onceLoaded does something to the table when that of last time has been read, which would undo it.
func (s *state) onceLoaded(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		s.early = append(s.early, do)
		return
	}
	do()
}

// begin does what has waited.
func (s *state) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = true
	for _, do := range s.early {
		do()
	}
	s.early = nil
}

// Gone implements catalog.Reader.
func (s *state) Gone(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(key)
}

// drop is called with mu held.
func (s *state) drop(key types.NamespacedName) {
	if _, had := s.table[key]; !had {
		return
	}
	delete(s.table, key)
	s.changed()
	for _, sink := range s.sinks {
		sink.drop(key)
	}
}

// Settled implements catalog.Reader. The API's table takes over from the disk's.
func (s *state) Settled(known func(types.NamespacedName) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.placed || s.whole {
		return
	}
	s.whole = true
	for key, entry := range s.table {
		if !entry.ofPod() && !known(key) { // pods are the node's to tell
			s.drop(key)
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

// setPlace notes that the node's place is known, and where it is. If that is news, everything has to be told again.
func (s *state) setPlace(zone func(was string) string) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := zone(s.place.Zone)
	news = !s.placed || s.place.Zone != is
	s.place.Zone, s.placed = is, true
	return news
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

// in is what the table has of a namespace.
func (s *state) in(namespace string) []Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Service
	for key, svc := range s.table {
		if key.Namespace == namespace {
			out = append(out, svc)
		}
	}
	slices.SortFunc(out, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return out
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
