package node

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// memoryReserve is kept from pods, and less than that available is memory pressure.
	memoryReserve = 100 << 20
	// diskReserve is the share of the disk, in percent, that is kept from pods and below which is disk pressure.
	diskReserve = 5
)

// machine is what the node's status tells of the machine.
type machine struct {
	cpus                    int64
	memory, memoryAvailable int64
	disk, diskAvailable     int64
	info                    corev1.NodeSystemInfo
}

// inspect reads the machine's facts; dir is where pods' files are.
func inspect(dir string) (*machine, error) {
	m := &machine{cpus: int64(runtime.NumCPU())}
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, fmt.Errorf("read memory size: %w", err)
	}
	m.memory, m.memoryAvailable = parseMeminfo(info)
	if limit := cgroupLimit(); limit > 0 && limit < m.memory {
		m.memory, m.memoryAvailable = limit, min(limit, m.memoryAvailable)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("ask disk size of %s: %w", dir, err)
	}
	m.disk, m.diskAvailable = int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize
	m.info = systemInfo()
	return m, nil
}

// parseMeminfo reads the total and the available memory in bytes.
func parseMeminfo(content []byte) (total, available int64) {
	for scanner := bufio.NewScanner(bytes.NewReader(content)); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "MemTotal:":
			total = kib << 10
		case "MemAvailable:":
			available = kib << 10
		}
	}
	return total, available
}

// cgroupLimit is the memory limit of the container that the worker itself runs in, 0 for none.
func cgroupLimit() int64 {
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if n, err := strconv.ParseInt(readLine(path), 10, 64); err == nil {
			return n
		}
	}
	return 0
}

func systemInfo() corev1.NodeSystemInfo {
	info := corev1.NodeSystemInfo{
		MachineID:       readLine("/etc/machine-id"),
		SystemUUID:      readLine("/sys/class/dmi/id/product_uuid"),
		BootID:          readLine("/proc/sys/kernel/random/boot_id"),
		OSImage:         osImage("/etc/os-release"),
		OperatingSystem: runtime.GOOS,
		Architecture:    runtime.GOARCH,
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		info.KernelVersion = unix.ByteSliceToString(name.Release[:])
	}
	return info
}

func readLine(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(content), "\n")
	return strings.TrimSpace(line)
}

func osImage(path string) string {
	content, _ := os.ReadFile(path)
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return "Linux"
}

// capacity is what the machine has, and what of it pods may have.
func (m *machine) capacity(maxPods int) (capacity, allocatable corev1.ResourceList) {
	list := func(memory, disk int64) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU:              *resource.NewQuantity(m.cpus, resource.DecimalSI),
			corev1.ResourceMemory:           *resource.NewQuantity(memory, resource.BinarySI),
			corev1.ResourceEphemeralStorage: *resource.NewQuantity(disk, resource.BinarySI),
			corev1.ResourcePods:             *resource.NewQuantity(int64(maxPods), resource.DecimalSI),
		}
	}
	return list(m.memory, m.disk), list(max(0, m.memory-memoryReserve), m.disk/100*(100-diskReserve))
}

func (m *machine) memoryPressure() bool { return m.memoryAvailable < memoryReserve }

func (m *machine) diskPressure() bool { return m.diskAvailable < m.disk/100*diskReserve }
