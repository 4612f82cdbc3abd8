package store

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestValidate(t *testing.T) {
	good := testResource("as", "A")
	with := func(change func(*Resource)) *Resource {
		r := *good
		change(&r)
		return &r
	}
	for name, c := range map[string]struct {
		cfg Config
		ok  bool
	}{
		"nothing":           {Config{}, false},
		"directory":         {Config{Dir: "d", Resources: []*Resource{good}}, true},
		"endpoints":         {Config{Endpoints: []string{"e"}, Resources: []*Resource{good}}, true},
		"negative":          {Config{Dir: "d", CompactInterval: -1}, false},
		"negative log":      {Config{Dir: "d", LogEvents: -1}, false},
		"twice":             {Config{Dir: "d", Resources: []*Resource{good, testResource("as", "A")}}, false},
		"no resource":       {Config{Dir: "d", Resources: []*Resource{nil}}, false},
		"no New":            {Config{Dir: "d", Resources: []*Resource{with(func(r *Resource) { r.New = nil })}}, false},
		"no kind":           {Config{Dir: "d", Resources: []*Resource{with(func(r *Resource) { r.GVK = schema.GroupVersionKind{} })}}, false},
		"slash in its name": {Config{Dir: "d", Resources: []*Resource{with(func(r *Resource) { r.GVR.Resource = "a/b" })}}, false},
	} {
		if _, err := New(c.cfg); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLifeOutOfOrder(t *testing.T) {
	r := testResource("as", "A")
	s, err := New(Config{Dir: t.TempDir(), Resources: []*Resource{r}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), r, "a", "b", true); err != errNotStarted {
		t.Errorf("get before the start: %v", err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("it runs before the start")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Start(t.Context()); err == nil {
		t.Error("it starts after it was closed")
	}
}

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"3.7.3": true, "3.6.0": true, "3.5.8": true, "3.5.7": false, "3.4.25": true, "3.4.24": false, "3.3.99": false,
		"2.3.8": false, "4.0.0": true, "3.5.8-rc.1": true, "": false, "new": false,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%s: %v", version, err)
		}
	}
}
