package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/petrelrun/petrel/wasmrt/supervisor/cgroup"
	"github.com/petrelrun/petrel/wasmrt/supervisor/fleet"
	"github.com/petrelrun/petrel/wasmrt/supervisor/state"
	"github.com/petrelrun/petrel/wasmrt/supervisor/users"
)

// Modes of what runners with user ids of their own must come through, and of nothing else below the root.
const (
	throughPerm = 0o711
	execByAll   = 0o001
)

// holderPrefix begins the names of the groups that hold runners', before what says which root they are of.
const holderPrefix = "petrel-wasmrt-"

// confinement is what the supervisor does to its runners. It is set once, before the first of them starts.
type confinement struct {
	book   *users.Book     // nil: runners have our user id
	groups *cgroup.Manager // nil: runners are not bounded
	report map[string]string
}

// confine finds out what this host lets us do. What it does not is told, and no error.
func (s *Supervisor) confine() {
	c := confinement{report: map[string]string{}}
	if err := s.makeDirs(); err != nil {
		s.cfg.Logger.Warn("runners cannot be kept to their directories", "error", err)
	}
	if book, err := s.openUsers(); err != nil {
		c.report["user"] = "off: " + err.Error()
	} else {
		c.book, c.report["user"] = book, fmt.Sprintf("on: ids %s, one a namespace", s.cfg.Users)
	}
	groups, err := s.openGroups()
	if err != nil {
		c.report["cgroup"] = "off: " + err.Error()
	} else {
		c.groups = groups
		for controller, what := range groups.Report() {
			c.report[controller] = what
		}
	}
	s.confined = c
	line := make([]any, 0, 2*len(c.report))
	for _, name := range sorted(c.report) {
		line = append(line, name, c.report[name])
	}
	s.cfg.Logger.Info("runners are confined", line...)
}

// makeDirs makes the directories of machine code and of bound mounts before there is a runner: landlock can name only what
// is there, and a runner that cannot name all it needs goes without landlock.
func (s *Supervisor) makeDirs() error {
	for of, dir := range map[string]string{s.cfg.CacheDir: s.cfg.CacheDir, s.cfg.Root: BindDir(s.cfg.Root)} {
		if of == "" {
			continue
		}
		if err := os.MkdirAll(dir, throughPerm); err != nil {
			return err
		}
	}
	return nil
}

func sorted(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// openUsers makes user ids of their own possible for runners: it opens to them the way to modules and machine code.
func (s *Supervisor) openUsers() (*users.Book, error) {
	switch {
	case s.cfg.Users.Count == 0:
		return nil, errors.New("no range of user ids is configured (--runner-uids)")
	case os.Geteuid() != 0:
		return nil, errors.New("only root can give runners user ids of their own")
	}
	program, err := os.Stat("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("check program: %w", err)
	}
	if program.Mode()&execByAll == 0 {
		return nil, errors.New("other users may not execute this program: chmod o+x it")
	}
	for _, dir := range []string{s.cfg.Root, s.cfg.CacheDir, BindDir(s.cfg.Root)} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, throughPerm); err != nil {
			return nil, fmt.Errorf("make %s: %w", dir, err)
		}
		if err := os.Chmod(dir, throughPerm); err != nil {
			return nil, err
		}
		if err := users.Reachable(dir); err != nil {
			return nil, err
		}
	}
	return users.Open(s.store.UsersFile(), s.cfg.Users)
}

func (s *Supervisor) openGroups() (*cgroup.Manager, error) {
	m, err := cgroup.Open(cgroup.Config{Holder: holderPrefix + fleet.Key(s.cfg.Root), Parent: s.cfg.CgroupParent,
		Limits: s.cfg.RunnerLimits, Logger: s.cfg.Logger})
	if err != nil {
		return nil, err
	}
	// Written down before the first group is made, and together with the places of a supervisor that was elsewhere.
	dirs := m.Dirs()
	for _, d := range s.store.Groups().Dirs {
		if !slices.Contains(dirs, d) {
			if _, err := os.Stat(d); err == nil {
				dirs = append(dirs, d)
			}
		}
	}
	if err := s.store.SaveGroups(&state.Groups{Dirs: dirs}); err != nil {
		m.Close()
		return nil, err
	}
	removed, err := m.SweepOthers(holderPrefix)
	if err != nil {
		s.cfg.Logger.Warn("groups are left of supervisors that are gone", "error", err)
	}
	if len(removed) > 0 {
		s.cfg.Logger.Info("groups of supervisors that are gone were removed", "groups", removed)
	}
	return m, nil
}

// releaseGroups lets go of the groups, and removes those without a runner that goes on.
func (s *Supervisor) releaseGroups() {
	cgroup.Release(s.store.Groups().Dirs)
	if g := s.confined.groups; g != nil {
		g.Close()
	}
}

// userOf answers the id of a namespace's runner; 0 is ours.
func (s *Supervisor) userOf(namespace string) (uint32, error) {
	if s.confined.book == nil {
		return 0, nil
	}
	return s.confined.book.Of(namespace, func(other string) bool { return s.needed(other) || s.fleet.Get(other) != nil })
}

func (s *Supervisor) groups() *cgroup.Manager { return s.confined.groups }

// sweepGroups removes the groups that belong to no runner, not even to one of those that are ending: those of a supervisor and runners that were killed.
func (s *Supervisor) sweepGroups(ending []string) {
	known := map[string]bool{}
	for _, r := range s.fleet.All() {
		known[r.Key()] = true
	}
	for _, key := range ending {
		known[key] = true
	}
	if err := cgroup.Sweep(s.store.Groups().Dirs, func(name string) bool { return known[name] }); err != nil {
		s.cfg.Logger.Warn("groups are left of runners that are gone", "error", err)
	}
}

// allowed says whether runners are let in where a container's log or mount lies.
func (s *Supervisor) allowed(what, path string) error {
	if len(s.cfg.AllowPaths) == 0 {
		return nil
	}
	path = filepath.Clean(path)
	for _, dir := range s.cfg.AllowPaths {
		if path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			return nil
		}
	}
	return fmt.Errorf("%s %s lies outside the directories that runners are let into (%s): place it there, or add its directory with --allow-path",
		what, path, strings.Join(s.cfg.AllowPaths, ", "))
}
