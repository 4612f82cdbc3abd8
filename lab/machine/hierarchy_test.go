package machine

import (
	"testing"
)

const sampleMounts = `32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/net_cls rw - cgroup cgroup rw,net_cls
34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/usr/lib/x,name=systemd
35 31 0:32 / /sys/fs/cgroup/a\040b rw,relatime shared:7 - cgroup cgroup rw,memory
36 31 0:33 /docker/1 /inside rw - cgroup cgroup rw,pids
37 31 0:33 /docker/2 /again rw - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
9 1 0:3 / / rw - ext4 /dev/vda rw
broken
`

func TestReadHierarchies(t *testing.T) {
	got := readHierarchies(sampleMounts, "4:memory:/api/1\n1:cpu,cpuacct:/\n6:net_cls:/f\n5:name=systemd:/init\n7:pids:/docker/1/x\n0::/user.slice\nbroken\n")
	want := []hierarchy{
		{"/sys/fs/cgroup/cpu", "cpu,cpuacct", "/sys/fs/cgroup/cpu"},
		{"/sys/fs/cgroup/systemd", "name=systemd", "/sys/fs/cgroup/systemd/init"},
		{"/sys/fs/cgroup/a b", "memory", "/sys/fs/cgroup/a b/api/1"},
		{"/inside", "pids", "/inside/x"},
		{"/sys/fs/cgroup/unified", "", "/sys/fs/cgroup/unified/user.slice"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	g := groupsAt(got, "petrel-lab-1/node-1")
	if g.Unified != "/sys/fs/cgroup/unified/user.slice/petrel-lab-1/node-1" || len(g.V1) != 4 || g.V1[2] != "/sys/fs/cgroup/a b/api/1/petrel-lab-1/node-1" {
		t.Errorf("groups %+v", g)
	}
	if outside := readHierarchies("36 31 0:33 /docker/1 /inside rw - cgroup2 cgroup2 rw\n", "0::/else\n"); len(outside) != 1 || outside[0].own != "/inside" {
		t.Errorf("a tree that we are not in: %+v", outside)
	}
}

func FuzzReadHierarchies(f *testing.F) {
	f.Add(sampleMounts, "4:memory:/api/1\n0::/\n")
	f.Add("1 0 0:1 / /m rw - cgroup2 cgroup2 rw\n", "0::/x\n")
	f.Fuzz(func(t *testing.T, mounts, groups string) {
		for _, h := range readHierarchies(mounts, groups) {
			if h.Mount == "" || h.own == "" {
				t.Errorf("%+v", h)
			}
		}
	})
}
