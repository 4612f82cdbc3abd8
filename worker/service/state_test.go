package service

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/petrelrun/petrel/worker/service/catalog"
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

// newTestState is a state that reads a catalog; where the node is is not known yet.
func newTestState(l *ledger) (*Server, *state, *catalog.Catalog) {
	s := &Server{state: newState("node-1", discard, l), catalog: catalog.New(nil)}
	s.catalog.Join(s.state)
	return s, s.state, s.catalog
}

func samePlace(was string) string { return was }

func key(name string) feed.Key {
	return feed.Key{NamespacedName: types.NamespacedName{Namespace: "default", Name: name}, UID: types.UID("uid-" + name)}
}

func TestStateFollowsTheAPI(t *testing.T) {
	l := &ledger{}
	server, s, c := newTestState(l)
	c.Slices().Set(testSlice("a", "1", 80, endpointOf("127.42.0.1", 'r')))
	c.Services().Set(testService("a"))
	c.Services().Synced()
	server.place(samePlace)
	l.want(t) // a part of the truth is none
	c.Slices().Synced()
	l.want(t, "set a [127.42.0.1:80]")
	c.Slices().Set(testSlice("a", "1", 80, endpointOf("127.42.0.1", 'r')))
	l.want(t) // nothing new
	c.Slices().Set(testSlice("a", "2", 80, endpointOf("127.42.0.2", 'r')))
	l.want(t, "set a [127.42.0.1:80 127.42.0.2:80]")
	c.Slices().Gone(key("1"))
	l.want(t, "set a [127.42.0.2:80]")
	c.Slices().Set(testSlice("b", "2", 80, endpointOf("127.42.0.2", 'r'))) // goes over to another Service
	l.want(t, "set a []")
	c.Services().Set(testService("b"))
	l.want(t, "set b [127.42.0.2:80]")
	c.Services().Gone(feed.Key{NamespacedName: key("a").NamespacedName, UID: "an older one"})
	l.want(t)
	c.Services().Gone(key("a"))
	l.want(t, "drop a")
	c.Slices().Gone(key("2"))
	c.Slices().Gone(key("2"))
	l.want(t, "set b []")
	if len(s.table) != 1 {
		t.Errorf("left in the table: %v", s.table)
	}
}

func TestStateOfLastTimeServesUntilTheAPIIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.json")
	l := &ledger{}
	server, s, c := newTestState(l)
	c.Services().Synced()
	c.Slices().Synced()
	server.place(samePlace)
	for _, name := range []string{"kept", "removed"} {
		c.Services().Set(testService(name))
		c.Slices().Set(testSlice(name, "s-"+name, 80, endpointOf("127.42.0.1", 'r')))
	}
	if err := s.save(path); err != nil {
		t.Fatal(err)
	}
	l = &ledger{}
	server, s, c = newTestState(l)
	if err := s.load(path); err != nil {
		t.Fatal(err)
	}
	l.want(t, "set kept [127.42.0.1:80]", "set removed [127.42.0.1:80]")
	c.Services().Set(testService("kept"))
	c.Services().Synced()
	server.place(samePlace)
	l.want(t) // its slices are not known yet
	c.Slices().Set(testSlice("kept", "s-kept", 80, endpointOf("127.42.0.1", 'r')))
	c.Slices().Synced()
	l.want(t, "drop removed")
	if got, ok := s.lookup(key("kept").NamespacedName); !ok || got.ClusterIPs[0] != netip.MustParseAddr("127.43.0.9") {
		t.Errorf("lookup = %+v, %v", got, ok)
	}
	if err := s.load(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("no file: %v", err)
	}
}

func TestServicesOfANamespace(t *testing.T) {
	s, state, _ := newTestState(&ledger{})
	for _, name := range []types.NamespacedName{{Namespace: "a", Name: "z"}, {Namespace: "b", Name: "x"}, {Namespace: "a", Name: "y"}} {
		state.table[name] = Service{Namespace: name.Namespace, Name: name.Name}
	}
	if got := s.In("a"); len(got) != 2 || got[0].Name != "y" || got[1].Name != "z" {
		t.Errorf("services of a = %v", got)
	}
	if got := s.In("none"); len(got) != 0 {
		t.Errorf("services of none = %v", got)
	}
}
