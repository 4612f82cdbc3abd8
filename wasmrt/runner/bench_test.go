package runner

import (
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/runner/wasmtest"
)

// BenchmarkStart is what a replica of a loaded module costs: create and start, without the supervisor, with sockets of its own
// and with the process's.
func BenchmarkStart(b *testing.B) {
	b.Run("doors", func(b *testing.B) { benchmarkStart(b, false) })
	b.Run("shared", func(b *testing.B) { benchmarkStart(b, true) })
}

func benchmarkStart(b *testing.B, shared bool) {
	dir := b.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		b.Fatal(err)
	}
	r, err := New(Config{Namespace: "default", Listener: l, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	if err := r.prepare(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		r.stopAll(0)
		_ = r.keeper.Close()
		_ = r.front.Close()
		_ = l.Close()
		_ = r.templates.close()
	}()
	p := writeModule(b, dir, wasmtest.Serve("x", "", 0))
	start := func(p control.CreateParams) {
		if _, err := r.create(b.Context(), &p); err != nil {
			b.Fatal(err)
		}
		started, err := r.start(b.Context(), &control.StartParams{ID: p.ID, Shared: shared})
		if err != nil {
			b.Fatal(err)
		}
		control.CloseFiles(started.(*control.StartResult).Files)
	}
	start(p)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	for b.Loop() {
		p.ID, p.Address = p.ID+"x", nextAddress()
		if len(p.ID) > 200 {
			p.ID = p.Address
		}
		start(p)
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/float64(b.N)/1024, "KiB/pod")
}
