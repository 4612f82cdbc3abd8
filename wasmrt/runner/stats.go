package runner

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
)

func (r *Runner) stats(p *control.StatsParams) *control.StatsResult {
	ids, more := p.IDs, false
	if len(ids) == 0 {
		ids, more = r.page(p.After)
	}
	result := &control.StatsResult{More: more}
	if more {
		result.Next = ids[len(ids)-1]
	}
	for _, id := range ids[:min(len(ids), control.MaxPage)] {
		c, err := r.find(id)
		if err != nil {
			continue
		}
		s := control.ContainerStats{ID: id, LogDropped: c.log.Dropped()}
		c.mu.Lock()
		work, state := c.work, c.status.State
		s.Causes = c.status.Failures
		c.mu.Unlock()
		if work != nil && state == control.StateRunning {
			work.stats(&s)
		}
		c.asides.tell(&s)
		if !p.Used || s.Requests > 0 || s.InFlight > 0 || s.LogDropped > 0 || s.Pool.Fuel > 0 {
			result.Containers = append(result.Containers, s)
		}
	}
	return result
}

// processStats reads the kernel's accounts of this process.
func (r *Runner) processStats() (*control.ProcessStats, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return nil, fmt.Errorf("read process stats: %w", err)
	}
	resident, err := residentPages(statm)
	if err != nil {
		return nil, err
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return nil, fmt.Errorf("read process stats: %w", err)
	}
	r.mu.Lock()
	n := len(r.containers)
	r.mu.Unlock()
	return &control.ProcessStats{
		PID: os.Getpid(), ResidentBytes: resident * uint64(os.Getpagesize()), CPUNanos: usage.Utime.Nano() + usage.Stime.Nano(),
		Containers: n, Templates: r.templates.count(), Goroutines: runtime.NumGoroutine(),
	}, nil
}

// residentPages reads the second field of /proc/<pid>/statm.
func residentPages(statm []byte) (uint64, error) {
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, fmt.Errorf("read process stats: unexpected statm %q", statm)
	}
	n, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read process stats: %w", err)
	}
	return n, nil
}
