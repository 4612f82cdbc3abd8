package stats

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// files makes a machine of files.
func files(t *testing.T, content map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range content {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Host{root: root}
}

const meminfo = "MemTotal:        1000 kB\nMemFree:          300 kB\nMemAvailable:     600 kB\nInactive(file):   100 kB\n"

func TestMachine(t *testing.T) {
	const kib = 1 << 10
	cases := map[string]struct {
		files map[string]string
		want  Machine
	}{
		"without cgroups": {
			map[string]string{"proc/stat": "cpu  10 20 30 1000 500 1 2 3 7 7\nbtime 5\n"},
			Machine{CPUNanos: 66 * 10_000_000, Memory: MachineMemory{Total: 1000 * kib, Available: 400 * kib, Usage: 700 * kib, Working: 600 * kib}},
		},
		"the root of v2, which counts no memory": {
			map[string]string{
				"sys/fs/cgroup/cgroup.controllers": "", "sys/fs/cgroup/cpu.stat": "usage_usec 5\nuser_usec 3\n",
				"sys/fs/cgroup/memory.stat": "anon 7\ninactive_file 9999\npgfault 3\npgmajfault 2\n",
			},
			Machine{CPUNanos: 5000, Memory: MachineMemory{Total: 1000 * kib, Available: 400 * kib, Usage: 700 * kib, Working: 600 * kib, RSS: 7, Faults: 3, Major: 2}},
		},
		"a container under v2": {
			map[string]string{
				"sys/fs/cgroup/cgroup.controllers": "", "sys/fs/cgroup/cpu.stat": "usage_usec 5\n",
				"sys/fs/cgroup/memory.stat": "anon 7\ninactive_file 1024\n", "sys/fs/cgroup/memory.current": "5120\n", "sys/fs/cgroup/memory.max": "10240\n",
			},
			Machine{CPUNanos: 5000, Memory: MachineMemory{Total: 10 * kib, Available: 6 * kib, Usage: 5 * kib, Working: 4 * kib, RSS: 7}},
		},
		"a v2 group without a limit": {
			map[string]string{
				"sys/fs/cgroup/cgroup.controllers": "", "sys/fs/cgroup/cpu.stat": "usage_usec 5\n", "sys/fs/cgroup/memory.stat": "inactive_file 1024\n",
				"sys/fs/cgroup/memory.current": "5120\n", "sys/fs/cgroup/memory.max": "max\n",
			},
			Machine{CPUNanos: 5000, Memory: MachineMemory{Total: 1000 * kib, Available: 600 * kib, Usage: 5 * kib, Working: 4 * kib}},
		},
		"v1": {
			map[string]string{
				"sys/fs/cgroup/cpuacct/cpuacct.usage": "77\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "204800\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
				"sys/fs/cgroup/memory/memory.stat":           "total_rss 5\ntotal_inactive_file 102400\ntotal_pgfault 8\ntotal_pgmajfault 1\n",
			},
			Machine{CPUNanos: 77, Memory: MachineMemory{Total: 1000 * kib, Available: 600 * kib, Usage: 200 * kib, Working: 100 * kib, RSS: 5, Faults: 8, Major: 1}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.files["proc/meminfo"] = meminfo
			c.files["proc/loadavg"] = "0.1 0.2 0.3 2/150 4711\n"
			c.files["proc/sys/kernel/pid_max"] = "32768\n"
			c.files["proc/sys/kernel/threads-max"] = "1000\n"
			got, err := files(t, c.files).Read()
			if err != nil {
				t.Fatal(err)
			}
			if got.CPUNanos != c.want.CPUNanos || got.Memory != c.want.Memory {
				t.Errorf("got %d ns, %+v\nwant %d ns, %+v", got.CPUNanos, got.Memory, c.want.CPUNanos, c.want.Memory)
			}
			if got.PIDs != (PIDs{Max: 1000, Used: 150}) || got.PIDs.Available() != 850 {
				t.Errorf("pids = %+v", got.PIDs)
			}
		})
	}
}

func TestThisMachine(t *testing.T) {
	m, err := Host{}.Read()
	if err != nil {
		t.Fatal(err)
	}
	if m.CPUs < 1 || m.CPUNanos == 0 || m.Memory.Total < 64<<20 || m.Memory.Working == 0 || m.Memory.Available > m.Memory.Total {
		t.Errorf("machine = %+v", m)
	}
	if m.PIDs.Used < 1 || m.PIDs.Max < m.PIDs.Used {
		t.Errorf("pids = %+v", m.PIDs)
	}
	if boot := (Host{}).Boot(); boot.Before(time.Unix(1_000_000_000, 0)) || boot.After(time.Now()) {
		t.Errorf("booted at %v", boot)
	}
	disk, err := ReadDisk(t.TempDir())
	if err != nil || disk.Total == 0 || disk.Available > disk.Total || disk.Inodes < disk.InodesFree {
		t.Errorf("disk = %+v, %v", disk, err)
	}
}

func TestNoMemoryIsAnError(t *testing.T) {
	if m, err := files(t, map[string]string{"proc/meminfo": "nonsense\n"}).Read(); err == nil {
		t.Errorf("read %+v of a machine without memory", m)
	}
}

func TestInterfaces(t *testing.T) {
	h := files(t, map[string]string{
		"proc/net/dev": "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n" +
			"  veth0: 5 1 2 0 0 0 0 0 6 1 3 0 0 0 0 0\n  eth0: 50 1 0 0 0 0 0 0 60 1 0 0 0 0 0 0\n",
		"proc/net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\n",
	})
	got := h.Interfaces()
	want := []Interface{{Name: "eth0", RxBytes: 50, TxBytes: 60}, {Name: "veth0", RxBytes: 5, RxErrors: 2, TxBytes: 6, TxErrs: 3}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("interfaces = %+v, want %+v", got, want)
	}
}
