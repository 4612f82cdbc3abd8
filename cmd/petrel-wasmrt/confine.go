package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/supervisor"
	"github.com/petrelrun/petrel/wasmrt/supervisor/cgroup"
	"github.com/petrelrun/petrel/wasmrt/supervisor/users"
)

const (
	// defaultUsers are ids that no distribution's tools give: behind those of systemd's containers, below 2³¹.
	defaultUsers = "1879048192+65536"
	// defaultMemory leaves a quarter of the host to everybody else, whatever one namespace does.
	defaultMemory = "75%"
	// defaultThreads is far above what a runner's work takes and far below what a host has.
	defaultThreads = 4096
	// evenWeight is everybody's share of the processors.
	evenWeight = 100
)

// confineFlags say what runners may take and touch.
type confineFlags struct {
	users, memory, cgroupParent string
	weight, threads             uint64
	allowPaths                  []string
}

func (f *confineFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.users, "runner-uids", defaultUsers, "user ids for runners as FIRST+COUNT, one a namespace; none: they have this process's")
	flags.StringVar(&f.memory, "runner-memory", defaultMemory, "memory of a namespace's runner: bytes (Ki, Mi, Gi) or a share of the host's; 0: not bounded")
	flags.Uint64Var(&f.weight, "runner-cpu-weight", evenWeight, "share of the processors of each runner beside the others, 1 to 10000")
	flags.Uint64Var(&f.threads, "runner-threads", defaultThreads, "threads of a namespace's runner; 0: not bounded")
	flags.StringVar(&f.cgroupParent, "cgroup-parent", "", "control group below which those of runners are made (default: this process's own)")
	flags.StringArrayVar(&f.allowPaths, "allow-path", nil, "directory below which containers' logs and mounts lie: runners are let in nowhere else (may be repeated; default: anywhere)")
}

// apply reads the flags into the supervisor's configuration.
func (f *confineFlags) apply(cfg *supervisor.Config) error {
	var err error
	if cfg.Users, err = users.ParseRange(f.users); err != nil {
		return &usageError{err}
	}
	total, err := hostMemory()
	if err != nil {
		return err
	}
	memory, err := parseMemory(f.memory, total)
	if err != nil {
		return &usageError{err}
	}
	if f.weight < 1 || f.weight > cgroup.MaxWeight {
		return &usageError{fmt.Errorf("runner-cpu-weight %d: want 1 to %d", f.weight, cgroup.MaxWeight)}
	}
	cfg.RunnerLimits = cgroup.Limits{Memory: memory, Weight: f.weight, Threads: f.threads}
	cfg.CgroupParent = f.cgroupParent
	for i, dir := range f.allowPaths {
		if f.allowPaths[i], err = realDir(dir); err != nil {
			return &usageError{err}
		}
	}
	cfg.AllowPaths = f.allowPaths
	return nil
}

// realDir answers the path of a directory that must be there: rules about it are made when a runner starts.
func realDir(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("allow-path: %w", err)
	}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err != nil {
		return "", fmt.Errorf("allow-path %s: %w", dir, err)
	}
	return path, nil
}

func hostMemory() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("read the host's memory: %w", err)
	}
	return uint64(info.Totalram) * uint64(info.Unit), nil
}
