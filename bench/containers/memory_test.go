package containers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/petrelrun/petrel/worker/containerd/containerdtest"
)

const (
	// How many pods each side's memory is divided by.
	wasmPods, containerPods = 1000, 10
	// settle is left for collectors, and for pools to give back instances that nobody asks for, before memory is read.
	settle = 30 * time.Second
)

// BenchmarkMemory compares what an idle pod beyond the first takes in all processes together: on one side supervisor and
// runner, on the other containerd, shims, pause and the program. What the kernel holds for a pod (network namespace, veth,
// mounts, control groups) is on no side, and only containers have it.
func BenchmarkMemory(b *testing.B) {
	var values [2][]float64
	for b.Loop() {
		c, daemon := containers(b)
		values[0] = append(values[0], perPod(b, c, containerPods, func() (float64, error) { return containerMemory(daemon) }))
		w, root := wasm(b)
		values[1] = append(values[1], perPod(b, w, wasmPods, func() (float64, error) {
			return total(func(line, _ string) bool { return strings.Contains(line, root) })
		}))
	}
	container, wasm := median(values[0]), median(values[1])
	b.ReportMetric(container/wasm, "ratio")
	b.ReportMetric(container, "container-KiB")
	b.ReportMetric(wasm, "wasm-KiB")
}

// perPod answers what each pod beyond the first takes, in KiB.
func perPod(b *testing.B, s *side, n int, measure func() (float64, error)) float64 {
	b.Helper()
	read := func() float64 {
		time.Sleep(settle)
		v, err := measure()
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	one, _, err := s.many(b.Context(), "one", 1)
	if err != nil {
		b.Fatal(err)
	}
	before := read()
	all, _, err := s.many(b.Context(), "idle", n)
	if err != nil {
		b.Fatal(err)
	}
	after := read()
	for _, p := range append(all, one...) {
		if err := s.end(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	return (after - before) / float64(n)
}

// containerMemory is that of containerd, its shims, and what runs in its control groups.
func containerMemory(c *containerdtest.Containerd) (float64, error) {
	return total(func(line, groups string) bool {
		return strings.Contains(line, c.Dir) || strings.Contains(groups, c.CgroupParent+"/")
	})
}

// total is the memory of the processes that belong, by command line or control groups, in KiB: each page divided among
// those that share it.
func total(belongs func(line, groups string) bool) (sum float64, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline") // a process that has gone since belongs nowhere
		groups, _ := os.ReadFile(dir + "/cgroup")
		if !belongs(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})), string(groups)) {
			continue
		}
		pss, err := pssOf(dir)
		if err != nil {
			return 0, err
		}
		sum += pss
	}
	return sum, nil
}

func pssOf(dir string) (float64, error) {
	data, err := os.ReadFile(dir + "/smaps_rollup")
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range bytes.Lines(data) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "Pss:" {
			return strconv.ParseFloat(string(fields[1]), 64)
		}
	}
	return 0, fmt.Errorf("read memory: no Pss in smaps_rollup of %s", dir)
}
