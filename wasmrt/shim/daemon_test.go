package shim

import (
	"testing"
	"time"
)

// TestNeeded: a connection that nothing comes of does not keep a daemon for ever.
func TestNeeded(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name        string
		tasks, open int
		ago         time.Duration
		want        bool
	}{
		{"nobody", 0, 0, time.Hour, false},
		{"nobody any more", 0, 0, 0, false},
		{"a task", 1, 1, time.Hour, true},
		{"a task while containerd is away", 1, 0, time.Hour, true},
		{"a task is about to be made", 0, 1, comesFor - time.Second, true},
		{"a connection that was forgotten", 0, 1, comesFor, false},
		{"one that was forgotten, and a new one", 0, 2, time.Second, true},
	} {
		if got := needed(now, tc.tasks, tc.open, now.Add(-tc.ago)); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
