package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are the controllers of cgroup v1 in whose hierarchies a machine has a group: those that bound Petrel's runners,
// and all others that container runtimes know, for they look for every one that the kernel tells of.
var wanted = []string{"memory", "cpu", "pids", "devices", "freezer", "cpuacct", "blkio", "cpuset", "name=systemd"}

// hierarchy is a mounted tree of control groups, and the group in it that this process is in.
type hierarchy struct {
	Mount   string // where it is mounted
	Options string // what v1's mount is made with: its controllers; empty for v2
	own     string // directory of our group
}

func (h hierarchy) unified() bool { return h.Options == "" }

// hierarchies finds those in which a machine needs a group: v2's and the ones of v1 with a controller that is wanted.
func hierarchies() ([]hierarchy, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	found := readHierarchies(string(mounts), string(groups))
	if !slices.ContainsFunc(found, hierarchy.unified) {
		return nil, fmt.Errorf("find control groups: no cgroup v2 is mounted: %w", ErrUnsupported)
	}
	return found, nil
}

// readHierarchies puts the kernel's lists together: what is mounted where, and which group this process is in.
func readHierarchies(mountinfo, groups string) []hierarchy {
	own := map[string]string{} // by controller; v2's is under ""
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, controller := range strings.Split(parts[1], ",") {
			own[controller] = parts[2]
		}
	}
	var found []hierarchy
	for line := range strings.Lines(mountinfo) {
		h, root, ok := parseMount(strings.TrimSuffix(line, "\n"))
		if !ok || slices.ContainsFunc(found, func(o hierarchy) bool { return o.Options == h.Options }) {
			continue
		}
		controller, _, _ := strings.Cut(h.Options, ",")
		group, ok := own[controller]
		if !ok {
			continue
		}
		below, inside := strings.CutPrefix(group, strings.TrimSuffix(root, "/"))
		if !inside {
			below = "/" // a part of the tree is mounted that we are not in
		}
		h.own = filepath.Join(h.Mount, below)
		found = append(found, h)
	}
	return found
}

// parseMount reads a line of mountinfo: "id parent dev root mountpoint options … - type source superoptions".
func parseMount(line string) (h hierarchy, root string, ok bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, super := strings.Fields(before), strings.Fields(after)
	const rootField, mountField, fewest, superFields = 3, 4, 5, 3
	if !ok || len(fields) < fewest || len(super) < superFields {
		return h, "", false
	}
	h.Mount, root = unescape(fields[mountField]), unescape(fields[rootField])
	switch super[0] {
	case "cgroup2":
		return h, root, true
	case "cgroup":
		names := slices.DeleteFunc(strings.Split(super[2], ","), func(o string) bool {
			return o == "rw" || o == "ro" || o == "xattr" || strings.HasPrefix(o, "release_agent=")
		})
		h.Options = strings.Join(names, ",")
		return h, root, slices.ContainsFunc(names, func(n string) bool { return slices.Contains(wanted, n) })
	}
	return h, "", false
}

// unescape undoes how the kernel writes blanks in paths.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
