package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// lost is what nobody accounts for any more: a daemon that is killed in the midst of making or removing a pod forgets the
// rest of it, and the next one removes only a part.
type lost struct {
	// containers are the IDs of those of which there are bundles, shims or processes without a record.
	containers []string
	// netns are the names of network namespaces, which are made before the record of their sandbox.
	netns []string
}

func (l lost) none() bool { return len(l.containers)+len(l.netns) == 0 }

// and is what is lost in both.
func (l lost) and(other lost) lost {
	both := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
	}
	return lost{both(l.containers, other.containers), both(l.netns, other.netns)}
}

const (
	// tasksDir is the name of containerd's directories of bundles, below its state, and of containers' own files, below its root.
	tasksDir = "io.containerd.runtime.v2.task"
	// netnsDir is where the CRI mounts network namespaces, below the state.
	netnsDir = "io.containerd.grpc.v1.cri/netns"
	// hidden begins the name of a bundle that is being removed.
	hidden = "."
)

func (c *Config) bundles() string { return filepath.Join(c.State, "state", tasksDir, namespace) }
func (c *Config) work() string    { return filepath.Join(c.Root, "root", tasksDir, namespace) }
func (c *Config) spaces() string  { return filepath.Join(c.State, "state", netnsDir) }
func (c *Config) runc() string    { return filepath.Join(c.State, "runc", namespace) }

// spacesBefore is the file that names the network namespaces which there were before the daemon was started. Those that
// it makes itself have no record for as long as it sets them up.
func (c *Config) spacesBefore() string { return filepath.Join(c.State, "netns-before") }

// noteSpaces writes it, while no daemon serves.
func (c *Config) noteSpaces() error {
	names, err := namesIn(c.spaces())
	if err != nil {
		return err
	}
	file := c.spacesBefore()
	if err := os.WriteFile(file+".new", []byte(strings.Join(names, "\n")), filePerm); err != nil {
		return fmt.Errorf("note network namespaces: %w", err)
	}
	return os.Rename(file+".new", file)
}

// oldSpaces are the network namespaces of earlier daemons that are still there.
func (c *Config) oldSpaces() ([]string, error) {
	raw, err := os.ReadFile(c.spacesBefore())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read network namespaces: %w", err)
	}
	before := strings.Fields(string(raw))
	now, err := namesIn(c.spaces())
	return slices.DeleteFunc(now, func(name string) bool { return !isID(name) || !slices.Contains(before, name) }), err
}

// traces are the IDs of containers that something is left of. It comes before the records are read: what is made
// meanwhile has one then.
func (c *Config) traces() ([]string, error) {
	found := map[string]bool{}
	for _, dir := range []string{c.bundles(), c.work(), c.runc()} {
		names, err := namesIn(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if id := strings.TrimPrefix(name, hidden); isID(id) {
				found[id] = true
			}
		}
	}
	all, err := shims(c.socket())
	for _, s := range all {
		found[s.id] = true
	}
	var out []string
	for id := range found {
		out = append(out, id)
	}
	slices.Sort(out)
	return out, err
}

// namesIn lists a directory; one that is not there is empty.
func namesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for what is lost: %w", err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, nil
}
