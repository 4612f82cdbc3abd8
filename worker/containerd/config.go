package containerd

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
)

// RuncShim is the type of a handler whose program has the command line of runc.
const RuncShim = "io.containerd.runc.v2"

// Handler is a way to run containers, which a RuntimeClass names.
type Handler struct {
	Name string
	// Type is containerd's name of the shim.
	Type string
	// Path is the shim's program, where it is not found on PATH by its type.
	Path string
	// Binary is the program that a shim of type RuncShim runs.
	Binary string
	// PodAnnotations are patterns of the pod's annotations that the shim is told.
	PodAnnotations []string
	// ContainerAnnotations are those of containers' annotations.
	ContainerAnnotations []string
}

// Config says what daemon there is to be.
type Config struct {
	Program Program
	// Root keeps images and containers, and survives the machine's restart; State holds sockets and mounts, and need not.
	Root, State string
	// CNIConfDir and CNIBinDirs are where networks are configured, and their plugins.
	CNIConfDir string
	CNIBinDirs []string
	// Handlers are the ways to run containers, the default first.
	Handlers []Handler
	// RegistryConfigDir has a directory with a hosts.toml for each registry that is not reached by its name alone.
	RegistryConfigDir string
	// Netns is the path of the network namespace that the daemon works in, and with it pods of the host's network; empty:
	// the process's own.
	Netns string
	// RestrictOOM keeps containers' OOM scores from being lower than our own, which takes a privilege to set.
	RestrictOOM bool
	// Tied has the daemon killed when this process ends, however it does: for tests, whose daemons nobody takes over.
	Tied   bool
	Logger *slog.Logger
}

// name is what may stand unquoted in a configuration's table.
var name = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// Validate reports what makes the configuration unusable.
func (c *Config) Validate() error {
	paths := map[string]string{
		"containerd program": c.Program.Path, "containerd root": c.Root, "containerd state": c.State,
		"CNI configuration directory": c.CNIConfDir, "registry configuration directory": c.RegistryConfigDir,
	}
	for i, dir := range c.CNIBinDirs {
		paths[fmt.Sprintf("CNI plugin directory %d", i+1)] = dir
	}
	for what, path := range paths {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s %q: want an absolute path", what, path)
		}
	}
	switch {
	case c.Program.Major == 0:
		return errors.New("containerd program has no version")
	case len(c.socket()) > socketPathLimit:
		return fmt.Errorf("containerd state %q: a socket's path in it is too long", c.State)
	case len(c.CNIBinDirs) == 0:
		return errors.New("no CNI plugin directory")
	case c.Program.Major == 1 && len(c.CNIBinDirs) > 1:
		return fmt.Errorf("containerd %s takes one CNI plugin directory", c.Program.Version)
	case len(c.Handlers) == 0:
		return errors.New("containerd has no program to run containers with: install runc")
	}
	seen := map[string]bool{}
	for _, h := range c.Handlers {
		if err := h.validate(); err != nil {
			return err
		}
		if seen[h.Name] {
			return fmt.Errorf("runtime handler %q is there twice", h.Name)
		}
		seen[h.Name] = true
	}
	return nil
}

func (h *Handler) validate() error {
	switch {
	case !name.MatchString(h.Name):
		return fmt.Errorf("runtime handler %q: want a lower case DNS label", h.Name)
	case h.Type == "":
		return fmt.Errorf("runtime handler %q has no type", h.Name)
	case h.Path != "" && !filepath.IsAbs(h.Path), h.Binary != "" && !filepath.IsAbs(h.Binary):
		return fmt.Errorf("runtime handler %q: want an absolute path", h.Name)
	}
	return nil
}

func (c *Config) socket() string     { return filepath.Join(c.State, "cri.sock") }
func (c *Config) configFile() string { return filepath.Join(c.Root, "config.toml") }
func (c *Config) logFile() string    { return filepath.Join(c.Root, "containerd.log") }
