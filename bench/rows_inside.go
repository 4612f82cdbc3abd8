package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/petrelrun/petrel/bench/stats"
	"github.com/petrelrun/petrel/bench/table"
)

const (
	liveCount = 10_000
	// cachedRounds is how often a process is started with a cache.
	cachedRounds = 9
)

func insideRows() []row {
	const page = " A page is what any memory costs that is given\nback and had again: a system call and a page fault."
	return []row{
		{
			name: "wasmrt/reset-vs-hot", direction: table.AtMost, bar: 5, measure: resetRow,
			what: "Seconds of a trivial request to a Go reactor in an instance that is reset after it, divided by those of the same call of an instance\n" +
				"that is kept, in one process. Scanning the page table for what was written and copying four or five pages back has been shown to\n" +
				"cost three such calls.",
		},
		{
			name: "wasmrt/clone-tiny", direction: table.AtMost, bar: 3, measure: cloneRow("tiny", 3),
			what: "Seconds of making an instance of a module of 200 bytes from its snapshot, one request, and its end, divided by those of a page." + page + "\n" +
				"A request writes to one page and has to take it; the rest is the engine's own instance.",
		},
		{
			name: "wasmrt/clone-c", direction: table.AtMost, bar: 6, measure: cloneRow("creactor", 3),
			what: "The same with a module of C with WASI's libc, divided by a page. A request writes to its stack, its heap and its data.",
		},
		{
			name: "wasmrt/clone-go", direction: table.AtMost, bar: 150, measure: cloneRow("reactor", 300),
			what: "The same with a module of Go, divided by a page. Its request writes to five or six pages; most of the rest are the 1,700 functions of\n" +
				"its table, for each of which the engine makes an object.",
		},
		{
			name: "wasmrt/live-10000", direction: table.AtMost, bar: 28.8, measure: liveRow,
			what: "Memory that each of 10,000 live instances of a Go module takes, each with a request behind it, divided by a page of memory (4 KiB).\n" +
				"Its own memory is five or six pages; the objects of its function table are twenty more.",
		},
		{
			name: "wasmrt/cached-start-go", direction: table.AtMost, bar: 20, measure: cachedRow("reactor", 60),
			what: "Seconds from a process's start to its first answer by a Go reactor whose compiled code is on disk, divided by those that a trivial Go\n" +
				"HTTP server takes from its start to its listening. Reading and mapping the code, and one start of Go's runtime in the guest,\n" +
				"come on top of the process.",
		},
		{
			name: "wasmrt/cached-start-c", direction: table.AtMost, bar: 4, measure: cachedRow("creactor", 10),
			what: "The same with a reactor of C, divided by a trivial Go HTTP server's start.",
		},
		{
			name: "wasmrt/fuel-price", direction: table.AtMost, bar: 1.25, measure: fuelRow,
			what: "Seconds of computing kernels (fib32, sha256, matmul200, sieve1M, in C and in Go) with the engine's metering, divided by those of the\n" +
				"same modules under bare wazero, which cannot end a guest: the geometric mean. One counter, tested where functions and loops\n" +
				"begin, should cost less than a quarter.",
		},
		{
			name: "wasmrt/loop-gc", direction: table.AtMost, bar: 10, measure: loopRow,
			what: "Seconds of the slowest of 20 garbage collections of a process in which a guest loops, divided by 10 ms, the time after which Go\n" +
				"interrupts its own goroutines. A guest gives its processor back when its fuel's slice is used up.",
		},
	}
}

func resetRow(ctx context.Context, l *lab) (m measurement, err error) {
	guest, err := l.tree.Guest(ctx, "reactor", true)
	if err != nil {
		return m, err
	}
	f, err := l.inside(ctx, "reset", "-module", guest)
	if err != nil {
		return m, err
	}
	if m, err = f.medians("isolated by reset", "hot, not isolated"); err != nil {
		return m, err
	}
	m.barred("isolated by reset", 1e6*stats.Median(f.Ours), 6, "µs")
	m.note("%.0f resets in %.0f requests, %.2f µs each", f.Facts["resets"], f.Facts["requests"], 1e6*f.Facts["reset seconds"])
	return m, f.mostly("resets")
}

// mostly asks that nearly every request of a measurement had what it is about, so that no row is fast by doing another
// thing.
func (f found) mostly(fact string) error {
	did, err := f.fact(fact)
	if err != nil {
		return err
	}
	requests, err := f.fact("requests")
	if err == nil && did < 0.9*requests {
		err = fmt.Errorf("%.0f %s in %.0f requests", did, fact, requests)
	}
	return err
}

func cloneRow(guest string, micros float64) func(context.Context, *lab) (measurement, error) {
	return func(ctx context.Context, l *lab) (m measurement, err error) {
		path, err := l.tree.Guest(ctx, guest, true)
		if err != nil {
			return m, err
		}
		f, err := l.inside(ctx, "clone", "-module", path)
		if err != nil {
			return m, err
		}
		if m, err = f.medians("clone, request, end", "a page"); err != nil {
			return m, err
		}
		pool, err := f.fact("pool seconds")
		if err != nil {
			return m, err
		}
		m.note("of that, a pool made and closed for each clone: %.2f µs", 1e6*pool)
		m.barred("clone, request, end without that pool", 1e6*(stats.Median(f.Ours)-pool), micros, "µs")
		return m, f.mostly("clones")
	}
}

func liveRow(ctx context.Context, l *lab) (m measurement, err error) {
	guest, err := l.tree.Guest(ctx, "reactor", true)
	if err != nil {
		return m, err
	}
	f, err := l.inside(ctx, "live", "-module", guest, "-count", fmt.Sprint(liveCount))
	if err != nil {
		return m, err
	}
	if live, err := f.fact("instances"); err != nil || live != liveCount {
		return m, fmt.Errorf("%.0f instances, want %d: %w", live, liveCount, err)
	}
	each := (f.Facts["bytes after"] - f.Facts["bytes before"]) / (liveCount - 1)
	m.value = each / float64(os.Getpagesize())
	m.barred(fmt.Sprintf("%d live Go instances, the whole process", liveCount), f.Facts["bytes after"]/(1<<30), 1.1, "GiB")
	m.note("%.1f KiB an instance; the process has %.1f MiB with one; %.0f are clones", each/1024, f.Facts["bytes before"]/(1<<20), f.Facts["clones"])
	return m, nil
}

func cachedRow(guest string, millis float64) func(context.Context, *lab) (measurement, error) {
	return func(ctx context.Context, l *lab) (m measurement, err error) {
		path, err := l.tree.Guest(ctx, guest, true)
		if err != nil {
			return m, err
		}
		dir, err := l.folder()
		if err != nil {
			return m, err
		}
		var last found
		ours := func() (float64, error) {
			began := time.Now()
			f, err := l.inside(ctx, "cached", "-module", path, "-cache", dir)
			last = f
			return time.Since(began).Seconds(), err
		}
		if _, err := ours(); err != nil { // fills the cache
			return m, err
		}
		p, err := stats.Pair(cachedRounds, ours, func() (float64, error) { return l.baselineStart(ctx) })
		if m, err = paired(p, err, "start to first answer", "a trivial Go HTTP server's start", "s"); err != nil {
			return m, err
		}
		m.barred("start to first answer", 1000*stats.Median(p.A), millis, "ms")
		m.note("loading the module: %.2f ms", 1000*last.Facts["load seconds"])
		if last.Facts["cached"] != 1 {
			return m, fmt.Errorf("the module was compiled again, though the cache has it")
		}
		return m, nil
	}
}

// baselineStart answers the seconds until a trivial server listens.
func (l *lab) baselineStart(ctx context.Context) (float64, error) {
	path, err := l.tree.Program(ctx, "./bench/baseline") // built before it is timed
	if err != nil {
		return 0, err
	}
	began := time.Now()
	s, err := startServer(ctx, plainLine, path)
	if err != nil {
		return 0, err
	}
	seconds := time.Since(began).Seconds()
	s.stop()
	return seconds, nil
}

func fuelRow(ctx context.Context, l *lab) (m measurement, err error) {
	if _, err := exec.LookPath("clang"); err != nil {
		return m, fmt.Errorf("unavailable: the C kernels need clang with wasi-libc (examples/deps.sh): %w", err)
	}
	var paths []string
	for _, guest := range []string{"gokernels", "ckernels"} {
		path, err := l.tree.Guest(ctx, guest, true)
		if err != nil {
			return m, err
		}
		paths = append(paths, path)
	}
	f, err := l.inside(ctx, "fuel", paths...)
	if err != nil {
		return m, err
	}
	ratios, err := f.ratios()
	if err != nil {
		return m, err
	}
	m.value, m.notes = geometricMean(ratios), f.Notes
	return m, nil
}

func loopRow(ctx context.Context, l *lab) (m measurement, err error) {
	const slice = 0.010 // seconds
	guest, err := l.tree.Guest(ctx, "reactor", true)
	if err != nil {
		return m, err
	}
	f, err := l.inside(ctx, "loop", "-module", guest)
	if err != nil {
		return m, err
	}
	slowest := stats.Quantile(f.Ours, 1)
	m.value = slowest / slice
	m.barred("slowest collection beside a loop", 1000*slowest, 100, "ms")
	m.note("median collection beside a loop: %.2f ms", 1000*stats.Median(f.Ours))
	return m, nil
}
