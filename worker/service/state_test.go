package service

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/service/feed"
)

// ledger is a sink that notes what it is told.
type ledger struct{ lines []string }

func (l *ledger) apply(s Service) {
	line := "set " + s.Name
	for _, p := range s.Ports {
		line += " [" + addrs(p.Backends) + "]"
	}
	l.lines = append(l.lines, line)
}

func (l *ledger) drop(k types.NamespacedName) { l.lines = append(l.lines, "drop "+k.Name) }

func (l *ledger) want(t *testing.T, want ...string) {
	t.Helper()
	if fmt.Sprint(l.lines) != fmt.Sprint(want) {
		t.Errorf("told %q, want %q", l.lines, want)
	}
	l.lines = nil
}

func newTestState(l *ledger) *state { return newState("node-1", discard, l) }

func key(name string) feed.Key {
	return feed.Key{NamespacedName: types.NamespacedName{Namespace: "default", Name: name}, UID: types.UID("uid-" + name)}
}

func TestStateFollowsTheAPI(t *testing.T) {
	l := &ledger{}
	s := newTestState(l)
	s.setSlice(testSlice("a", "1", 80, endpointOf("127.42.0.1", 'r')))
	s.setService(testService("a"))
	s.markSynced(syncedServices)
	s.markSynced(syncedNode)
	l.want(t) // a part of the truth is none
	s.markSynced(syncedSlices)
	l.want(t, "set a [127.42.0.1:80]")
	s.setSlice(testSlice("a", "1", 80, endpointOf("127.42.0.1", 'r')))
	l.want(t) // nothing new
	s.setSlice(testSlice("a", "2", 80, endpointOf("127.42.0.2", 'r')))
	l.want(t, "set a [127.42.0.1:80 127.42.0.2:80]")
	s.dropSlice(key("1"))
	l.want(t, "set a [127.42.0.2:80]")
	s.setSlice(testSlice("b", "2", 80, endpointOf("127.42.0.2", 'r'))) // goes over to another Service
	l.want(t, "set a []")
	s.setService(testService("b"))
	l.want(t, "set b [127.42.0.2:80]")
	s.dropService(feed.Key{NamespacedName: key("a").NamespacedName, UID: "an older one"})
	l.want(t)
	s.dropService(key("a"))
	l.want(t, "drop a")
	s.dropSlice(key("2"))
	s.dropSlice(key("2"))
	l.want(t, "set b []")
	if len(s.owners) != 0 || len(s.slices) != 0 {
		t.Errorf("left behind: %v %v", s.owners, s.slices)
	}
}

func TestStateOfLastTimeServesUntilTheAPIIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.json")
	l := &ledger{}
	s := newTestState(l)
	for _, which := range []int{syncedServices, syncedSlices, syncedNode} {
		s.markSynced(which)
	}
	for _, name := range []string{"kept", "removed"} {
		s.setService(testService(name))
		s.setSlice(testSlice(name, "s-"+name, 80, endpointOf("127.42.0.1", 'r')))
	}
	if err := s.save(path); err != nil {
		t.Fatal(err)
	}
	l = &ledger{}
	s = newTestState(l)
	if err := s.load(path); err != nil {
		t.Fatal(err)
	}
	l.want(t, "set kept [127.42.0.1:80]", "set removed [127.42.0.1:80]")
	s.setService(testService("kept"))
	s.markSynced(syncedServices)
	s.markSynced(syncedNode)
	l.want(t) // its slices are not known yet
	s.setSlice(testSlice("kept", "s-kept", 80, endpointOf("127.42.0.1", 'r')))
	s.markSynced(syncedSlices)
	l.want(t, "drop removed")
	if got, ok := s.lookup(key("kept").NamespacedName); !ok || got.ClusterIPs[0] != netip.MustParseAddr("127.43.0.9") {
		t.Errorf("lookup = %+v, %v", got, ok)
	}
	if err := s.load(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("no file: %v", err)
	}
}
