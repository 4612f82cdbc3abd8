package stats

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host reads the machine. The zero value reads the one that it runs on.
type Host struct {
	root string // of /proc and /sys, for tests
}

// Machine is what the machine has and takes.
type Machine struct {
	CPUs     int64
	CPUNanos uint64 // that all processors have worked
	Memory   MachineMemory
	PIDs     PIDs
	Time     time.Time
}

// MachineMemory is in bytes. Of a machine that is a container the limit is the size.
type MachineMemory struct {
	Total     uint64
	Available uint64 // for new work, without pushing out what works
	Usage     uint64 // all that is in use, page cache too
	Working   uint64 // without page cache that is not used
	RSS       uint64
	Faults    uint64
	Major     uint64 // of the faults, those that read the disk
}

// PIDs are the processes and threads that there may be and are.
type PIDs struct{ Max, Used int64 }

// Available is how many more there may be.
func (p PIDs) Available() int64 { return max(0, p.Max-p.Used) }

// Read reads the machine's accounts. It opens about ten files.
func (h Host) Read() (*Machine, error) {
	m := &Machine{CPUs: int64(runtime.NumCPU()), Time: time.Now()}
	info := h.fields("/proc/meminfo")
	m.Memory.Total = info["MemTotal:"] << 10
	if m.Memory.Total == 0 {
		return nil, fmt.Errorf("read memory size: /proc/meminfo has none")
	}
	m.Memory.Available = info["MemAvailable:"] << 10
	m.Memory.Usage = m.Memory.Total - min(m.Memory.Total, info["MemFree:"]<<10)
	cached := info["Inactive(file):"] << 10
	if _, err := os.Stat(h.path("/sys/fs/cgroup/cgroup.controllers")); err == nil {
		cached = h.unified(m, cached)
	} else {
		cached = h.legacy(m, cached)
	}
	m.Memory.Working = m.Memory.Usage - min(m.Memory.Usage, cached)
	m.Memory.Available = min(m.Memory.Available, m.Memory.Total-min(m.Memory.Total, m.Memory.Working))
	if m.CPUNanos == 0 {
		m.CPUNanos = h.busy()
	}
	m.PIDs = h.pids()
	return m, nil
}

// unified reads the accounts of cgroup v2 and answers the page cache that is not used.
func (h Host) unified(m *Machine, cached uint64) uint64 {
	const dir = "/sys/fs/cgroup/"
	m.CPUNanos = h.fields(dir + "cpu.stat")["usage_usec"] * uint64(time.Microsecond)
	stat := h.fields(dir + "memory.stat")
	m.Memory.RSS, m.Memory.Faults, m.Memory.Major = stat["anon"], stat["pgfault"], stat["pgmajfault"]
	if usage, ok := h.number(dir + "memory.current"); ok { // the root of the hierarchy has none: it is the machine
		m.Memory.Usage = usage
		cached = stat["inactive_file"]
	}
	if limit, ok := h.number(dir + "memory.max"); ok {
		m.Memory.Total = min(m.Memory.Total, limit)
	}
	return cached
}

// legacy does so of cgroup v1.
func (h Host) legacy(m *Machine, cached uint64) uint64 {
	m.CPUNanos, _ = h.number("/sys/fs/cgroup/cpuacct/cpuacct.usage")
	const dir = "/sys/fs/cgroup/memory/"
	usage, ok := h.number(dir + "memory.usage_in_bytes")
	if !ok {
		return cached
	}
	stat := h.fields(dir + "memory.stat")
	m.Memory.Usage, m.Memory.RSS, m.Memory.Faults, m.Memory.Major = usage, stat["total_rss"], stat["total_pgfault"], stat["total_pgmajfault"]
	if limit, ok := h.number(dir + "memory.limit_in_bytes"); ok {
		m.Memory.Total = min(m.Memory.Total, limit)
	}
	return stat["total_inactive_file"]
}

// clockTick is what /proc/stat counts in on every machine that Linux runs Go on.
const clockTick = 10 * time.Millisecond

// busy is the time that processors have worked, where no cgroup accounts for it.
func (h Host) busy() uint64 {
	content, _ := os.ReadFile(h.path("/proc/stat"))
	line, _, _ := strings.Cut(string(content), "\n")
	var ticks uint64
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		idle := i == 4 || i == 5 // idle, and waiting for a disk
		guest := i > 8           // counted in user and nice too
		if err == nil && !idle && !guest {
			ticks += n
		}
	}
	return ticks * uint64(clockTick)
}

// pids reads how many processes and threads there may be: the smallest limit counts.
func (h Host) pids() PIDs {
	p := PIDs{}
	for _, path := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		if n, ok := h.number(path); ok && (p.Max == 0 || int64(n) < p.Max) {
			p.Max = int64(n)
		}
	}
	fields := strings.Fields(h.text("/proc/loadavg"))
	if len(fields) > 3 {
		_, all, _ := strings.Cut(fields[3], "/")
		p.Used, _ = strconv.ParseInt(all, 10, 64)
	}
	return p
}

// Disk is a file system.
type Disk struct {
	Total, Available   uint64 // bytes
	Inodes, InodesFree uint64
	ID                 uint64 // of the device
	Time               time.Time
}

// ReadDisk asks for the file system that dir is on.
func ReadDisk(dir string) (*Disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("ask disk size of %s: %w", dir, err)
	}
	d := &Disk{
		Total: fs.Blocks * uint64(fs.Bsize), Available: fs.Bavail * uint64(fs.Bsize), Inodes: fs.Files, InodesFree: fs.Ffree, Time: time.Now(),
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, fmt.Errorf("ask device of %s: %w", dir, err)
	}
	d.ID = st.Dev
	return d, nil
}

func (h Host) path(p string) string {
	if h.root == "" {
		return p
	}
	return filepath.Join(h.root, p)
}

func (h Host) text(path string) string {
	content, err := os.ReadFile(h.path(path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// number reads a file of one number; a limit that is none ("max") is no number.
func (h Host) number(path string) (uint64, bool) {
	n, err := strconv.ParseUint(h.text(path), 10, 64)
	return n, err == nil
}

// fields reads a file of a name and a number a line.
func (h Host) fields(path string) map[string]uint64 {
	out := map[string]uint64{}
	content, _ := os.ReadFile(h.path(path))
	for line := range strings.Lines(string(content)) {
		parts := strings.Fields(line)
		if len(parts) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(parts[1], 10, 64); err == nil {
			out[parts[0]] = n
		}
	}
	return out
}
