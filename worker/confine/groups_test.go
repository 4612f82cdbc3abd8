package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// cgroups is where control groups are mounted.
const cgroups = "/sys/fs/cgroup"

// TestGroups makes real control groups, in a base of the test's own.
func TestGroups(t *testing.T) {
	base := fmt.Sprintf("/petrel-test-%d", os.Getpid())
	g, err := NewGroups(cgroups, base)
	if err != nil {
		t.Fatal(err)
	}
	const uid = types.UID("u-1")
	limits := &runtimev1.LinuxContainerResources{CpuShares: 512, CpuQuota: 50_000, MemoryLimitInBytes: 64 << 20}
	t.Cleanup(func() {
		for _, root := range g.roots() {
			if err := removeGroup(root + base); err != nil {
				t.Error(err)
			}
		}
	})
	if err := g.Make(uid, limits); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			t.Skip("control groups cannot be made here: ", err)
		}
		t.Fatal(err)
	}
	if g.v2() {
		wantFile(t, cgroups+base+"/podu-1/cpu.max", "50000 100000")
		wantFile(t, cgroups+base+"/podu-1/memory.max", "67108864")
	} else {
		wantFile(t, cgroups+"/cpu"+base+"/podu-1/cpu.shares", "512")
		wantFile(t, cgroups+"/cpu"+base+"/podu-1/cpu.cfs_quota_us", "50000")
		wantFile(t, cgroups+"/memory"+base+"/podu-1/memory.limit_in_bytes", "67108864")
	}
	for _, root := range g.roots() { // as a runtime does for a container, in every hierarchy
		if err := os.MkdirAll(filepath.Join(root, g.Parent(uid), "container", "inner"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Make(uid, &runtimev1.LinuxContainerResources{CpuShares: 2}); err != nil { // it may lose its bounds
		t.Fatal(err)
	}
	if !g.v2() {
		wantFile(t, cgroups+"/cpu"+base+"/podu-1/cpu.cfs_quota_us", "-1")
	}
	if err := g.Make("u-2", limits); err != nil {
		t.Fatal(err)
	}
	if got := g.Pods(); len(got) != 2 || !slices.Contains(got, uid) {
		t.Errorf("pods = %v", got)
	}
	if err := errors.Join(g.Remove(uid), g.Remove("u-2"), g.Remove("never-was")); err != nil {
		t.Fatal(err)
	}
	for _, root := range g.roots() {
		if _, err := os.Stat(filepath.Join(root, g.Parent(uid))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left in %s: %v", root, err)
		}
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("%s = %q, %v, want %q", path, got, err, want)
	}
}

// TestGroupsOfOneHierarchy checks what is written where, on files that stand for the second version's.
func TestGroupsOfOneHierarchy(t *testing.T) {
	mount := t.TempDir()
	touch := func(path string) {
		path = filepath.Join(mount, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{
		"cgroup.controllers", "cgroup.subtree_control", "a/cgroup.subtree_control", "a/pods/cgroup.subtree_control",
		"a/pods/podu/cpu.weight", "a/pods/podu/cpu.max", "a/pods/podu/memory.max",
	} {
		touch(path)
	}
	g, err := NewGroups(mount, "/a/pods")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Make("u", &runtimev1.LinuxContainerResources{CpuShares: 1024, MemoryLimitInBytes: 100}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"cgroup.subtree_control": "+cpu +memory +pids", "a/pods/cgroup.subtree_control": "+cpu +memory +pids",
		"a/pods/podu/cpu.weight": "39", "a/pods/podu/cpu.max": "max 100000", "a/pods/podu/memory.max": "100",
	} {
		wantFile(t, filepath.Join(mount, path), want)
	}
	if got := g.Pods(); !slices.Equal(got, []types.UID{"u"}) {
		t.Errorf("pods = %v", got)
	}
	if err := g.Make("v", &runtimev1.LinuxContainerResources{}); err == nil {
		t.Error("a kernel that lacks the files is said to have taken the limits")
	}
}

func TestGroupNames(t *testing.T) {
	for _, base := range []string{"", "/", "pods", "/a/../b", "/a/"} {
		if _, err := NewGroups(cgroups, base); err == nil {
			t.Errorf("base %q was accepted", base)
		}
	}
	g, err := NewGroups(t.TempDir(), "/pods")
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range []types.UID{"", "../x", "a/b"} {
		if err := g.Make(uid, nil); err == nil {
			t.Errorf("pod %q was accepted", uid)
		}
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[int64]int64{0: 1, 2: 1, 1024: 39, 262144: 10_000, 1 << 40: 10_000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares weigh %d, want %d", shares, got, want)
		}
	}
}
