package cgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/petrelrun/petrel/cgrouplock"
)

// Limits are what each group gets. Zero leaves the kernel's own.
type Limits struct {
	Memory  uint64 // bytes
	Weight  uint64 // of processor time beside its siblings, 1 to 10000; 100 is everybody's
	Threads uint64
}

// Config says where groups are made.
type Config struct {
	// Holder is the name of the group that holds all others.
	Holder string
	// Parent is the group below which the holder is made. Empty: this process's own.
	Parent string
	Limits Limits
	Logger *slog.Logger
}

// MaxWeight bounds Limits.Weight, as the kernel does.
const MaxWeight = 10_000

// Validate checks the configuration without touching the disk.
func (c Config) Validate() error {
	switch {
	case c.Logger == nil:
		return errors.New("check cgroups: a Logger is required")
	case !validName(c.Holder):
		return fmt.Errorf("check cgroups: %q cannot be a group's name", c.Holder)
	case c.Limits.Weight > MaxWeight:
		return fmt.Errorf("check cgroups: weight %d is over %d", c.Limits.Weight, MaxWeight)
	}
	for part := range strings.SplitSeq(strings.Trim(c.Parent, "/"), "/") {
		if c.Parent != "" && !validName(part) {
			return fmt.Errorf("check cgroups: parent %q: %q cannot be a group's name", c.Parent, part)
		}
	}
	return nil
}

func validName(name string) bool {
	return name != "" && name[0] != '.' && !strings.ContainsAny(name, "/\n\x00")
}

// Manager makes and removes groups.
type Manager struct {
	cfg    Config
	places []place
	report map[string]string
	held   []*os.File // the holders
}

// place is the holder in one hierarchy.
type place struct {
	dir         string
	v2          bool
	controllers []string
}

// Open finds the hierarchies and makes the holder in them. What cannot be used is in the report; it is no error.
func Open(cfg Config) (*Manager, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	return open(cfg, readHierarchies(string(mountinfo), string(groups)))
}

func open(cfg Config, all []*hierarchy) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, report: map[string]string{}}
	for _, c := range controllers {
		m.report[c] = "off: no hierarchy offers this controller"
	}
	for _, h := range all {
		dir := h.dir(cfg.Parent)
		usable := slices.DeleteFunc(slices.Clone(controllers), func(c string) bool { return !h.has(c, dir) || m.has(c) })
		if len(usable) == 0 {
			continue
		}
		p, held, err := hold(h, dir, cfg.Holder, usable)
		if held != nil {
			m.held = append(m.held, held)
		}
		if err == nil {
			err = p.weigh(runtime.NumCPU())
		}
		for _, c := range usable {
			if err != nil {
				m.report[c] = "off: " + err.Error()
			} else {
				m.report[c] = "on: " + cfg.Limits.describe(c)
			}
		}
		if err == nil {
			m.places = append(m.places, p)
		}
	}
	return m, nil
}

// hold makes the holder in a hierarchy, and keeps others from sweeping it.
func hold(h *hierarchy, dir, name string, usable []string) (place, *os.File, error) {
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return place{}, nil, fmt.Errorf("make parent group: %w", err)
	}
	if err := h.offer(dir, usable); err != nil {
		return place{}, nil, err
	}
	holder := filepath.Join(dir, name)
	held, err := cgrouplock.Hold(holder)
	if err != nil {
		return place{}, nil, err
	}
	return place{dir: holder, v2: h.v2, controllers: usable}, held, h.offer(holder, usable)
}

// Close lets go of the holder, after the last Create.
func (m *Manager) Close() {
	for _, f := range m.held {
		_ = f.Close() // of a directory
	}
	m.held = nil
}

// SweepOthers removes holders beside this one whose names have the prefix, whose supervisors have ended and which no process
// is in. It answers which.
func (m *Manager) SweepOthers(prefix string) ([]string, error) {
	var all []string
	var errs []error
	for _, p := range m.places {
		removed, err := cgrouplock.Sweep(filepath.Dir(p.dir), prefix)
		all, errs = append(all, removed...), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// weigh gives the holder the weight of as many ordinary processes as there are processors. With that of one, which is what
// a new group has, all namespaces together would get no more than a single process beside them.
func (p place) weigh(processors int) error {
	if !slices.Contains(p.controllers, CPU) {
		return nil
	}
	for _, s := range settings(CPU, p.v2, Limits{Weight: min(MaxWeight, defaultWeight*uint64(processors))}) {
		if err := write(filepath.Join(p.dir, s.file), s.value); err != nil {
			return fmt.Errorf("weigh group: write %s: %w", s.file, err)
		}
	}
	return nil
}

func (l Limits) describe(controller string) string {
	switch {
	case controller == Memory && l.Memory > 0:
		return fmt.Sprintf("at most %d MiB a namespace", l.Memory>>20)
	case controller == CPU:
		return fmt.Sprintf("weight %d", cmpOr(l.Weight, defaultWeight))
	case controller == Threads && l.Threads > 0:
		return fmt.Sprintf("at most %d threads a namespace", l.Threads)
	}
	return "counted, not bounded"
}

// defaultWeight is what the kernel gives whoever says nothing.
const defaultWeight = 100

func cmpOr(v, def uint64) uint64 {
	if v == 0 {
		return def
	}
	return v
}

func (m *Manager) has(controller string) bool {
	return slices.ContainsFunc(m.places, func(p place) bool { return slices.Contains(p.controllers, controller) })
}

// Report tells for each controller what holds: "on: " and the limit, or "off: " and why.
func (m *Manager) Report() map[string]string { return m.report }

// Dirs are the holder's directories, for Sweep when no manager is left to ask.
func (m *Manager) Dirs() []string {
	dirs := make([]string, 0, len(m.places))
	for _, p := range m.places {
		dirs = append(dirs, p.dir)
	}
	return dirs
}

// Create makes the group of a name with the limits. What is left of an earlier one of the name goes, processes and all.
func (m *Manager) Create(name string) (*Group, error) {
	g, err := m.Find(name)
	if err != nil {
		return nil, err
	}
	if err := g.Remove(); err != nil {
		return nil, err
	}
	for _, p := range g.places {
		if err := os.Mkdir(p.dir, dirPerm); err != nil {
			return nil, fmt.Errorf("make group: %w", err)
		}
		if err := p.limit(m.cfg.Limits); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Find answers the group of a name, whether it is there or not.
func (m *Manager) Find(name string) (*Group, error) {
	if !validName(name) {
		return nil, fmt.Errorf("find group: %q cannot be a group's name", name)
	}
	g := &Group{}
	for _, p := range m.places {
		p.dir = filepath.Join(p.dir, name)
		g.places = append(g.places, p)
	}
	return g, nil
}

// limit writes the limits of one group.
func (p place) limit(l Limits) error {
	for _, c := range p.controllers {
		for _, s := range settings(c, p.v2, l) {
			if err := write(filepath.Join(p.dir, s.file), s.value); err != nil && !s.optional {
				return fmt.Errorf("limit group: write %s: %w", s.file, err)
			}
		}
	}
	return nil
}

type setting struct {
	file, value string
	optional    bool // not every kernel has it
}

func settings(controller string, v2 bool, l Limits) []setting {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	switch {
	case controller == Memory && l.Memory > 0 && v2:
		return []setting{{"memory.max", number(l.Memory), false}, {"memory.swap.max", "0", true}, {"memory.oom.group", "1", true}}
	case controller == Memory && l.Memory > 0:
		return []setting{{"memory.limit_in_bytes", number(l.Memory), false}, {"memory.memsw.limit_in_bytes", number(l.Memory), true}}
	case controller == CPU && v2:
		return []setting{{"cpu.weight", number(cmpOr(l.Weight, defaultWeight)), false}}
	case controller == CPU:
		const shares = 1024 // what v1 calls the default
		return []setting{{"cpu.shares", number(max(2, cmpOr(l.Weight, defaultWeight)*shares/defaultWeight)), false}}
	case controller == Threads && l.Threads > 0:
		return []setting{{"pids.max", number(l.Threads), false}}
	}
	return nil
}
