package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// hunts is how many requests hunt for a secret; they meet the instance that had it, its clones, or both.
const hunts = 10

// TestIsolation: nothing of a request is there for another, unless the app asks for it.
func TestIsolation(t *testing.T) {
	w := newWorld(t)
	module := w.modulePath("hostile")
	url := map[string]string{
		"reset":  w.deploy("reset", module, 201).URL, // the default
		"fresh":  w.deployWith("fresh", module, "isolation=fresh").URL,
		"shared": w.deployWith("shared", module, "isolation=shared&concurrency=1").URL,
	}
	for _, isolation := range []string{"reset", "fresh"} {
		t.Run(isolation, func(t *testing.T) {
			w := w.in(t)
			app := url[isolation]
			for range 5 {
				equal(t, "requests that the instance has served", w.get(app+"count", 200).Body, "1\n")
			}
			for range 3 {
				contains(t, w.get(app+"plant", 200).Body, "planted")
				for range hunts {
					matches(t, w.get(app+"hunt", 200).Body, `^found 0 in \d{6,} bytes$`)
				}
			}
			var numbers []string
			for range 10 {
				numbers = append(numbers, strings.Fields(w.get(app+"random", 200).Body)...)
			}
			slices.Sort(numbers)
			if len(slices.Compact(numbers)) != 20 {
				t.Errorf("random numbers come again: %v", numbers)
			}
			w.get(app+"recurse", 502) // a broken instance is not handed on
			equal(t, "requests after a trap", w.get(app+"count", 200).Body, "1\n")
		})
	}
	// With a shared instance the same guest counts, and the hunter finds: so it does hunt.
	t.Run("shared", func(t *testing.T) {
		w := w.in(t)
		app := url["shared"]
		for i := range 5 {
			equal(t, "requests that the instance has served", w.get(app+"count", 200).Body, fmt.Sprintf("%d\n", i+1))
		}
		w.get(app+"plant", 200)
		matches(t, w.get(app+"hunt", 200).Body, `^found [1-9]\d+ in \d{6,} bytes$`)
	})
	contains(t, w.curl("-T", module, w.deployURL("odd")+"&isolation=none").Body, "isolation", "reset", "fresh", "shared")
}
