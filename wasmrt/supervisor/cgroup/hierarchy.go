package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Controllers that are used.
const (
	Memory  = "memory"
	CPU     = "cpu"
	Threads = "pids" // the kernel counts tasks, which are threads
)

var controllers = []string{Memory, CPU, Threads}

// hierarchy is a mounted tree of groups.
type hierarchy struct {
	mount string // where it is mounted
	root  string // which of its groups is seen there
	own   string // the group of this process, as the kernel names it
	v2    bool
	names []string // of v1's controllers
}

// readHierarchies puts together the kernel's two lists: what is mounted where, and which groups a process is in.
func readHierarchies(mountinfo, groups string) []*hierarchy {
	var found []*hierarchy
	for line := range strings.Lines(mountinfo) {
		if h := parseMount(line); h != nil && !slices.ContainsFunc(found, func(o *hierarchy) bool { return o.same(h) }) {
			found = append(found, h)
		}
	}
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // number:controllers:path
		if len(parts) != 3 {
			continue
		}
		for _, h := range found {
			if h.v2 && parts[1] == "" || !h.v2 && parts[1] != "" && slices.Contains(h.names, strings.Split(parts[1], ",")[0]) {
				h.own = parts[2]
			}
		}
	}
	return slices.DeleteFunc(found, func(h *hierarchy) bool { return h.own == "" })
}

// parseMount reads a line of mountinfo: "… root mountpoint options … - type source superoptions".
func parseMount(line string) *hierarchy {
	before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
	fields, super := strings.Fields(before), strings.Fields(after)
	const rootField, mountField, fewest = 3, 4, 5
	if !ok || len(fields) < fewest || len(super) < 3 {
		return nil
	}
	h := &hierarchy{root: fields[rootField], mount: unescape(fields[mountField])}
	switch super[0] {
	case "cgroup2":
		h.v2 = true
	case "cgroup":
		h.names = slices.DeleteFunc(strings.Split(super[2], ","), func(o string) bool { return o == "rw" || o == "ro" })
	default:
		return nil
	}
	return h
}

// unescape undoes how the kernel writes spaces in paths.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(path)
}

func (h *hierarchy) same(o *hierarchy) bool { return h.v2 == o.v2 && slices.Equal(h.names, o.names) }

// has says whether the controller can be used below the group at dir.
func (h *hierarchy) has(controller, dir string) bool {
	if !h.v2 {
		return slices.Contains(h.names, controller)
	}
	offered, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(offered)), controller)
}

// supervisorLeaf is where the supervisor moves to in v2, where a group that has processes can have no groups with limits.
const supervisorLeaf = "petrel-supervisor"

// dir answers the group below which the holder is made: the named parent, or the supervisor's own.
func (h *hierarchy) dir(parent string) string {
	if parent != "" {
		return filepath.Join(h.mount, parent)
	}
	own := h.own
	if h.v2 && filepath.Base(own) == supervisorLeaf {
		own = filepath.Dir(own)
	}
	if rest, ok := strings.CutPrefix(own, h.root); ok {
		own = rest
	} else if h.root != "/" {
		own = "/" // we see a part of the tree that we are not in
	}
	return filepath.Join(h.mount, own)
}

// offer makes v2's controllers available to the groups below dir. Where dir holds this process, that moves out of the way.
func (h *hierarchy) offer(dir string, names []string) error {
	if !h.v2 {
		return nil
	}
	enable := "+" + strings.Join(names, " +")
	control := filepath.Join(dir, "cgroup.subtree_control")
	err := write(control, enable)
	if err == nil {
		return nil
	}
	if h.dir("") != dir { // it is not ours to move in
		return fmt.Errorf("offer controllers to groups below %s: %w", dir, err)
	}
	leaf := filepath.Join(dir, supervisorLeaf)
	if err := os.Mkdir(leaf, dirPerm); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make supervisor's group: %w", err)
	}
	if err := write(filepath.Join(leaf, procsFile), fmt.Sprint(os.Getpid())); err != nil {
		return fmt.Errorf("move to supervisor's group: %w", err)
	}
	if err := write(control, enable); err != nil {
		return fmt.Errorf("offer controllers to groups below %s, which may have other processes: name a parent with --cgroup-parent: %w", dir, err)
	}
	return nil
}

const (
	dirPerm   = 0o755
	filePerm  = 0o644
	procsFile = "cgroup.procs"
)

// write writes a control file, which exists.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, filePerm)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
