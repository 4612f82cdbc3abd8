package node

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/petrelrun/petrel/worker/stats"
)

// machine is what the node's status tells of the machine.
type machine struct {
	cpus, memory, disk int64
	info               corev1.NodeSystemInfo
}

// inspect reads the machine's facts; dir is where pods' files are.
func inspect(dir string) (*machine, error) {
	now, err := stats.Host{}.Read()
	if err != nil {
		return nil, err
	}
	disk, err := stats.ReadDisk(dir)
	if err != nil {
		return nil, err
	}
	return &machine{cpus: now.CPUs, memory: int64(now.Memory.Total), disk: int64(disk.Total), info: systemInfo()}, nil
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

// capacity is what the machine has, and what of it pods may have: all that can be used before pods are evicted.
func (m *machine) capacity(cfg *Config) (capacity, allocatable corev1.ResourceList) {
	list := func(memory, disk int64) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU:              *resource.NewQuantity(m.cpus, resource.DecimalSI),
			corev1.ResourceMemory:           *resource.NewQuantity(memory, resource.BinarySI),
			corev1.ResourceEphemeralStorage: *resource.NewQuantity(disk, resource.BinarySI),
			corev1.ResourcePods:             *resource.NewQuantity(int64(cfg.MaxPods), resource.DecimalSI),
		}
	}
	memory, disk := cfg.Kept(m.memory, m.disk)
	return list(m.memory, m.disk), list(max(0, m.memory-memory), max(0, m.disk-disk))
}
