package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// soakRequests are asked in every run, longSoakRequests when PETREL_SOAK=1 asks for a long one.
	soakRequests     = 20_000
	longSoakRequests = 1_000_000
	// soakWarmUp is the share of requests after which pools, heaps and caches have their size.
	soakWarmUp = 0.25
	// soakGrowth is what may come on top of that, in KiB: the collector's own breathing.
	soakGrowth = 16 << 10
	soakers    = 8
	// soakLimit is how long a soak of the usual length may take.
	soakLimit = 3 * time.Minute
)

// TestSoak asks one runner many times, most requests good and some stopped by a limit: its memory stays what it was, and
// it leaves no files open.
func TestSoak(t *testing.T) {
	w := newWorld(t)
	total := soakRequests
	if os.Getenv("PETREL_SOAK") != "" {
		total = longSoakRequests
	}
	app := w.deployWith("soaked", w.modulePath("hostile"), "cpu_time=100ms&memory=64Mi")
	began := time.Now()
	warm := int(soakWarmUp * float64(total))
	w.soak(app.URL, warm)
	pid := w.runner()
	memory, files := residentKiB(w, pid), openFiles(w, pid)
	asked := w.soak(app.URL, total-warm)
	t.Logf("%d requests in %s; %d KiB were %d KiB more after %d more requests, %d open files were %d",
		asked+warm, time.Since(began).Round(time.Millisecond), memory, residentKiB(w, pid)-memory, asked, files, openFiles(w, pid))
	if asked < total-warm {
		t.Errorf("%d of %d requests in %s: too slow to tell anything", asked, total-warm, soakLimit)
	}
	w.eventually("the runner to be no larger than it was", func() error { // its collector takes its time
		if grown := residentKiB(w, pid) - memory; grown > soakGrowth {
			return fmt.Errorf("its memory grew from %d KiB by %d KiB", memory, grown)
		}
		if now := openFiles(w, pid); now > files+2*soakers {
			return fmt.Errorf("it had %d files open and has %d", files, now)
		}
		return nil
	})
	equal(t, "the runner", w.runner(), pid)
}

// soak asks an app n times, now and then for what is stopped, and answers how often it could.
func (w *world) soak(url string, n int) int {
	w.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	var first atomic.Pointer[string]
	deadline := time.Now().Add(soakLimit * time.Duration(max(1, n/soakRequests)))
	for range soakers {
		wg.Go(func() {
			for time.Now().Before(deadline) && first.Load() == nil {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				path, want := "", []int{200}
				switch i % 1000 {
				case 500:
					path, want = "grow", []int{507, 504} // whichever limit it meets first
				case 999:
					path, want = "spin", []int{504}
				}
				a, err := fetch(w.Context(), url+path)
				if err != nil || !slices.Contains(want, a.Status) {
					said := fmt.Sprintf("request %d for /%s: %d %s %v", i, path, a.Status, a.Body, err)
					first.CompareAndSwap(nil, &said)
				}
			}
		})
	}
	wg.Wait()
	if said := first.Load(); said != nil {
		w.Fatal(*said)
	}
	return int(min(next.Load(), int64(n)))
}

// residentKiB is a process's private and shared memory, shared pages divided among those who have them.
func residentKiB(w *world, pid int) int {
	w.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		w.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "Pss:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				w.Fatal(err)
			}
			return n
		}
	}
	w.Fatalf("no Pss of process %d", pid)
	return 0
}

func openFiles(w *world, pid int) int {
	w.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		w.Fatal(err)
	}
	return len(entries)
}
