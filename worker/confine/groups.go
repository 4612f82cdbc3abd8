package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// podPrefix begins the names of pods' groups, before their UIDs.
	podPrefix = "pod"
	groupMode = 0o755
	// removeTries and removePause are for groups whose last process is just ending.
	removeTries = 20
	removePause = 10 * time.Millisecond
	// maxWeight is the most that a v2 group weighs, and minWeight the least.
	minWeight = 1
	maxWeight = 10_000
)

// Groups keeps the control groups of pods: one a pod below its base, in each hierarchy, which bounds the pod's
// containers together. All pods' are beside each other, so that each weighs what it asked for.
type Groups struct {
	mount string // where control groups are mounted
	base  string // the group that holds the pods', from the hierarchies' roots
}

// NewGroups makes one for the control groups at mount, usually /sys/fs/cgroup. base is made when the first pod needs it.
func NewGroups(mount, base string) (*Groups, error) {
	if !filepath.IsAbs(base) || filepath.Clean(base) != base || base == "/" {
		return nil, fmt.Errorf("control group %q: want an absolute path below the root", base)
	}
	return &Groups{mount: mount, base: base}, nil
}

// v2 reports whether one hierarchy holds all controllers.
func (g *Groups) v2() bool {
	_, err := os.Stat(filepath.Join(g.mount, "cgroup.controllers"))
	return err == nil
}

// Parent is the pod's group as the runtime is told of it.
func (g *Groups) Parent(uid types.UID) string { return filepath.Join(g.base, podPrefix+string(uid)) }

// Make makes the pod's group with its limits, or gives it those that it is to have now.
func (g *Groups) Make(uid types.UID, r *runtimev1.LinuxContainerResources) error {
	if string(uid) == "" || strings.ContainsAny(string(uid), "/\x00") {
		return fmt.Errorf("control group of pod %q: this is no name", uid)
	}
	if g.v2() {
		return g.makeV2(uid, r)
	}
	cpu := []setting{{"cpu.shares", r.GetCpuShares()}, {"cpu.cfs_period_us", quotaPeriod}, {"cpu.cfs_quota_us", -1}}
	if quota := r.GetCpuQuota(); quota > 0 {
		cpu[2].value = quota
	}
	memory := []setting{{"memory.limit_in_bytes", -1}}
	if limit := r.GetMemoryLimitInBytes(); limit > 0 {
		memory[0].value = limit
	}
	if err := g.makeV1("cpu", uid, cpu); err != nil {
		return err
	}
	return g.makeV1("memory", uid, memory)
}

type setting struct {
	file  string
	value int64
}

func (g *Groups) makeV1(controller string, uid types.UID, settings []setting) error {
	dir := filepath.Join(g.mount, controller, g.Parent(uid))
	if err := os.MkdirAll(dir, groupMode); err != nil {
		return fmt.Errorf("make control group: %w", err)
	}
	for _, s := range settings {
		if err := write(dir, s.file, strconv.FormatInt(s.value, 10)); err != nil {
			return err
		}
	}
	return nil
}

func (g *Groups) makeV2(uid types.UID, r *runtimev1.LinuxContainerResources) error {
	dir := filepath.Join(g.mount, g.Parent(uid))
	if err := os.MkdirAll(dir, groupMode); err != nil {
		return fmt.Errorf("make control group: %w", err)
	}
	if err := g.delegate(); err != nil {
		return err
	}
	quota, memory := "max", "max"
	if q := r.GetCpuQuota(); q > 0 {
		quota = strconv.FormatInt(q, 10)
	}
	if limit := r.GetMemoryLimitInBytes(); limit > 0 {
		memory = strconv.FormatInt(limit, 10)
	}
	return errors.Join(
		write(dir, "cpu.weight", strconv.FormatInt(weight(r.GetCpuShares()), 10)),
		write(dir, "cpu.max", quota+" "+strconv.Itoa(quotaPeriod)),
		write(dir, "memory.max", memory),
	)
}

// delegate lets each group from the root to the base pass the controllers on to those below it.
func (g *Groups) delegate() error {
	dir := g.mount
	for _, name := range append([]string{""}, strings.Split(strings.TrimPrefix(g.base, "/"), "/")...) {
		dir = filepath.Join(dir, name)
		if err := write(dir, "cgroup.subtree_control", "+cpu +memory +pids"); err != nil {
			return err
		}
	}
	return nil
}

// weight is what shares are in v2: both ranges from end to end.
func weight(shares int64) int64 {
	shares = min(maxShares, max(minShares, shares))
	return minWeight + (shares-minShares)*(maxWeight-minWeight)/(maxShares-minShares)
}

func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0) // what a kernel does not offer is not made up
	if err != nil {
		return fmt.Errorf("set limit of control group: %w", err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set limit of control group: %w", err)
	}
	return nil
}

// Remove removes the pod's group with all that runtimes made below it, in every hierarchy. What never was is no error.
func (g *Groups) Remove(uid types.UID) error {
	var failures error
	for _, root := range g.roots() {
		failures = errors.Join(failures, removeGroup(filepath.Join(root, g.Parent(uid))))
	}
	return failures
}

// Close removes the groups of all pods, and the one that they are in: for when nothing is to go on.
func (g *Groups) Close() error {
	var failures error
	for _, root := range g.roots() {
		failures = errors.Join(failures, removeGroup(filepath.Join(root, g.base)))
	}
	return failures
}

// Pods are those that have a group in any hierarchy.
func (g *Groups) Pods() []types.UID {
	seen := map[types.UID]bool{}
	var out []types.UID
	for _, root := range g.roots() {
		entries, _ := os.ReadDir(filepath.Join(root, g.base)) // without one there are none
		for _, e := range entries {
			uid, ok := strings.CutPrefix(e.Name(), podPrefix)
			if ok && e.IsDir() && !seen[types.UID(uid)] {
				seen[types.UID(uid)] = true
				out = append(out, types.UID(uid))
			}
		}
	}
	return out
}

// roots are those of the hierarchies: runtimes make groups in each, also in those that the pod's limits are not in.
func (g *Groups) roots() []string {
	if g.v2() {
		return []string{g.mount}
	}
	entries, _ := os.ReadDir(g.mount) // no control groups at all: nothing to remove
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(g.mount, e.Name()))
		}
	}
	return out
}

// removeGroup removes a group and those below it, the lowest first: each of them has to be empty.
func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for range removeTries {
		if err = os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		time.Sleep(removePause)
	}
	return fmt.Errorf("remove control group: %w", err)
}
