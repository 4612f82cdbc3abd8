package containerd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// ErrNotInstalled says that there is no containerd, or no program that it runs containers with.
var ErrNotInstalled = errors.New("containerd is not installed")

// Program is an installed containerd.
type Program struct {
	Path    string
	Version string // as it tells it: 1.6.20~ds1, v2.4.2
	Major   int
	Minor   int
}

// versionLine is what containerd --version prints: name, package, version, revision.
var versionLine = regexp.MustCompile(`^containerd \S+ (v?(\d+)\.(\d+)\S*)`)

// Find answers the program that is named, or else the one on PATH, once it has told its version.
func Find(ctx context.Context, named string) (Program, error) {
	if named == "" {
		named = "containerd"
	}
	path, err := exec.LookPath(named)
	if err != nil {
		return Program{}, fmt.Errorf("%w: %w", ErrNotInstalled, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return Program{}, fmt.Errorf("find containerd: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return Program{}, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	return parseVersion(path, string(out))
}

func parseVersion(path, printed string) (Program, error) {
	m := versionLine.FindStringSubmatch(printed)
	if m == nil {
		return Program{}, fmt.Errorf("%s tells no version: %.100q", path, printed)
	}
	p := Program{Path: path, Version: m[1]}
	var err error
	if p.Major, err = strconv.Atoi(m[2]); err == nil {
		p.Minor, err = strconv.Atoi(m[3])
	}
	if err != nil {
		return Program{}, fmt.Errorf("%s tells version %q: %w", path, m[1], err)
	}
	if p.Major < 1 || p.Major == 1 && p.Minor < 6 || p.Major > 2 {
		return Program{}, fmt.Errorf("%s is version %s: want 1.6, 1.7 or 2", path, m[1])
	}
	return p, nil
}

// Handlers are the runtimes found on PATH that need nothing but their program, the default first.
func Handlers() []Handler {
	var out []Handler
	for _, name := range []string{"runc", "crun"} {
		if path, err := exec.LookPath(name); err == nil {
			out = append(out, Handler{Name: name, Type: RuncShim, Binary: path})
		}
	}
	return out
}
