package e2e

import (
	"net/http"
	"testing"
)

// TestQueueOverflow sends an app more requests than it serves at once and lets wait.
func TestQueueOverflow(t *testing.T) {
	w := newWorld(t)
	narrow := w.deployWith("narrow", w.modulePath("hostile"), "concurrency=1&queue=1&queue_time=1m")
	const asked = 6
	answers := make(chan answer, asked)
	for range asked {
		go func() {
			a, err := fetch(w.Context(), narrow.URL+"sleep?ms=3000")
			if err != nil {
				a.Body = err.Error()
			}
			answers <- a
		}()
	}
	status := map[int]int{}
	for range asked {
		a := <-answers
		status[a.Status]++
		if a.Status == http.StatusServiceUnavailable {
			contains(t, a.Body, `"queue"`)
			matches(t, a.Header.Get("Retry-After"), `^[1-9]\d*$`)
		}
	}
	if status[200] != 2 || status[503] != asked-2 {
		t.Errorf("statuses %v, want 2 of 200 and %d of 503", status, asked-2)
	}
	w.get(narrow.URL, 200)
}
