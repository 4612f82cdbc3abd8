package users

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func never(string) bool { return false }

func TestParseRange(t *testing.T) {
	for s, want := range map[string]Range{
		"1879048192+65536": {1879048192, 65536}, "none": {}, "65536+1": {65536, 1}, "2147483647+1": {2147483647, 1},
	} {
		got, err := ParseRange(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "+", "1+", "x+1", "0+10", "1000+10", "65536+0", "2147483647+2", "65536+99999999999", "65536-5", "65536"} {
		if got, err := ParseRange(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.json")
	ids := Range{First: 100_000, Count: 3}
	b, err := Open(path, ids)
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]uint32{}
	for _, ns := range []string{"a", "b", "a", "c"} {
		id, err := b.Of(ns, never)
		if err != nil || !ids.Contains(id) {
			t.Fatalf("%s: %d, %v", ns, id, err)
		}
		if old, ok := given[ns]; ok && old != id {
			t.Errorf("%s had %d and has %d", ns, old, id)
		}
		given[ns] = id
	}
	if given["a"] == given["b"] || given["b"] == given["c"] || given["a"] == given["c"] {
		t.Errorf("ids %v", given)
	}
	if b, err = Open(path, ids); err != nil { // another supervisor
		t.Fatal(err)
	}
	if id, err := b.Of("b", never); err != nil || id != given["b"] {
		t.Errorf("b had %d and has %d, %v", given["b"], id, err)
	}
	if _, err := b.Of("d", func(string) bool { return true }); err == nil {
		t.Error("a fourth of three ids was given")
	}
	id, err := b.Of("d", func(ns string) bool { return ns == "a" })
	if err != nil || id != given["b"] {
		t.Errorf("d has %d, %v; want what b had", id, err)
	}
	if id, err := b.Of("b", func(ns string) bool { return ns != "c" }); err != nil || id != given["c"] {
		t.Errorf("b has %d, %v; want what c had", id, err)
	}
	other, err := Open(path, Range{First: 200_000, Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := other.Of("a", never); err != nil || id < 200_000 {
		t.Errorf("a of another range has %d, %v", id, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, ids); err == nil {
		t.Error("a broken book was read")
	}
}

func TestBookTogether(t *testing.T) {
	b, err := Open(filepath.Join(t.TempDir(), "users.json"), Range{First: 100_000, Count: 50})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[uint32]string{}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ns := fmt.Sprint(i % 50)
			id, err := b.Of(ns, func(string) bool { return true })
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[id] != "" && seen[id] != ns {
				t.Errorf("%s has %d like %s, %v", ns, id, seen[id], err)
			}
			seen[id] = ns
		})
	}
	wg.Wait()
	if len(seen) != 50 {
		t.Errorf("%d ids", len(seen))
	}
}

func TestReachable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(deep, link); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{deep, link} {
		if err := Reachable(d); err != nil {
			t.Error(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{deep, link} {
		var closed *ClosedError
		if err := Reachable(d); !errors.As(err, &closed) || filepath.Base(closed.Dir) != "a" {
			t.Errorf("%s: %v", d, err)
		}
	}
	if err := Reachable(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("nowhere can be reached")
	}
}

func FuzzBook(f *testing.F) {
	f.Add([]byte(`[{"namespace":"a","id":100000}]`))
	f.Add([]byte(`[{"namespace":"a","id":100000},{"namespace":"b","id":100000},{"namespace":"a","id":100001}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := &Book{ids: Range{First: 100_000, Count: 4}, byID: map[uint32]string{}}
		if b.load(raw) != nil {
			return
		}
		seen := map[string]bool{}
		for _, l := range b.lines {
			if seen[l.Namespace] || b.byID[l.ID] != l.Namespace || !b.ids.Contains(l.ID) {
				t.Errorf("lines %v", b.lines)
			}
			seen[l.Namespace] = true
		}
	})
}
