package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountPoint(t *testing.T) {
	for line, want := range map[string]string{
		"35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate": "/sys/fs/cgroup",
		`36 24 0:30 / /a\040b rw - cgroup2 none rw`:                                      "/a b",
		"37 24 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu":                      "",
		"38 24 0:30 /sub /mnt rw - cgroup2 cgroup2 rw":                                   "", // a part of it
		"39 - cgroup2 x rw": "",
		"":                  "",
	} {
		if got, ok := mountPoint(line, "cgroup2"); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", line, got, ok)
		}
	}
}

func FuzzMountPoint(f *testing.F) {
	f.Add("35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate")
	f.Fuzz(func(t *testing.T, line string) {
		if at, ok := mountPoint(line, "cgroup2"); ok && at == "" {
			t.Error("an empty mount point")
		}
	})
}

func TestNodeAddresses(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	all, err := NodeAddresses(nil)
	if err != nil || !slices.Contains(all, loopback) {
		t.Errorf("all addresses are %v, %v", all, err)
	}
	some, err := NodeAddresses([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	if err != nil || !slices.Equal(some, []netip.Addr{loopback}) {
		t.Errorf("loopback addresses are %v, %v", some, err)
	}
	none, err := NodeAddresses([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")})
	if err != nil || len(none) != 0 {
		t.Errorf("addresses of a documentation network are %v, %v", none, err)
	}
}

func TestExternalInterfacesLeaveLoopbackOut(t *testing.T) {
	names, err := ExternalInterfaces()
	if err != nil || slices.Contains(names, "lo") {
		t.Errorf("interfaces are %v, %v", names, err)
	}
}

func TestRoots(t *testing.T) {
	insideOrSkip(t)
	root, err := CgroupRoot()
	if err != nil || !isMounted(root, unix.CGROUP2_SUPER_MAGIC) {
		t.Errorf("the cgroup2 file system is at %q, %v", root, err)
	}
	own := bpffs(t) // a file system bpf that is not everybody's
	pins, err := PinRoot()
	switch {
	case err == nil && pins != defaultPinRoot:
		t.Errorf("pins go to %q, beside %q", pins, own)
	case err != nil && isMounted(defaultPinRoot, unix.BPF_FS_MAGIC):
		t.Errorf("%s is not found: %v", defaultPinRoot, err)
	}
}
