package confine

import (
	"fmt"
	"log/slog"
	"path/filepath"
)

// Config says what a process keeps.
type Config struct {
	// ReadOnly are directories that may be read: modules and machine code.
	ReadOnly []string
	// ReadWrite are directories below which logs and mounts lie; the files' own modes say more. None: paths are not
	// limited, because a mount may come from anywhere.
	ReadWrite []string
	Logger    *slog.Logger
}

// Validate checks the configuration without touching the disk.
func (c Config) Validate() error {
	if c.Logger == nil {
		return fmt.Errorf("confine process: a Logger is required")
	}
	for _, list := range [][]string{c.ReadOnly, c.ReadWrite} {
		for _, dir := range list {
			if !filepath.IsAbs(dir) {
				return fmt.Errorf("confine process: directory %q is not absolute", dir)
			}
		}
	}
	return nil
}

// Names of the measures, as reports have them.
const (
	NoNewPrivileges = "noNewPrivileges"
	Seccomp         = "seccomp"
	Landlock        = "landlock"
)

// Report tells for each measure what holds: "on", with what it covers behind it, or "off: " and why.
type Report map[string]string

func on(what string) string { return "on: " + what }

func off(why any) string { return fmt.Sprintf("off: %v", why) }

// Apply confines the process as far as the host can. The order matters: the filter comes last, because the other
// measures ask for system calls that it does not allow.
func Apply(c Config) (Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := Report{}
	r[NoNewPrivileges] = noNewPrivileges()
	r[Landlock] = restrictPaths(c)
	r[Seccomp] = filterCalls()
	c.Logger.Debug("runner confined", NoNewPrivileges, r[NoNewPrivileges], Landlock, r[Landlock], Seccomp, r[Seccomp])
	return r, nil
}
