package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/petrelrun/petrel/worker/network/cni/plugin"
)

// conflistName begins so that runtimes, which take the first in their directory, take it.
const conflistName = "10-petrel.conflist"

// Install says how a runtime is told of the plugin.
type Install struct {
	// ConfDir is where the runtime looks for network configurations: /etc/cni/net.d with containerd's defaults.
	ConfDir string
	// BinDir is where it looks for plugins: /opt/cni/bin.
	BinDir string
	// Program is what becomes the plugin by its name.
	Program string
	// Socket is where the worker listens.
	Socket string
}

// Validate reports what makes the configuration unusable.
func (i *Install) Validate() error {
	for what, path := range map[string]string{
		"CNI configuration directory": i.ConfDir, "CNI plugin directory": i.BinDir, "CNI plugin": i.Program, "CNI socket": i.Socket,
	} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s %q: want an absolute path", what, path)
		}
	}
	return nil
}

// conflist is the network configuration.
func (i *Install) conflist() ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"cniVersion": plugin.Versions[0], // what the oldest runtime speaks that we know of
		"name":       "petrel",
		"plugins":    []any{map[string]any{"type": plugin.Name, "socket": i.Socket}},
	}, "", "  ")
}

// Write writes the network configuration and the plugin's link, each whole or not at all. What is right already is left,
// because runtimes watch their directory.
func (i *Install) Write() error {
	if err := i.Validate(); err != nil {
		return err
	}
	content, err := i.conflist()
	if err != nil {
		return fmt.Errorf("encode CNI configuration: %w", err)
	}
	if err := errors.Join(os.MkdirAll(i.ConfDir, 0o755), os.MkdirAll(i.BinDir, 0o755)); err != nil {
		return fmt.Errorf("make CNI directories: %w", err)
	}
	// The plugin comes first: a runtime that finds the configuration finds it.
	link := filepath.Join(i.BinDir, plugin.Name)
	if to, err := os.Readlink(link); err != nil || to != i.Program {
		if err := replace(link, func(path string) error { return os.Symlink(i.Program, path) }); err != nil {
			return fmt.Errorf("link CNI plugin: %w", err)
		}
	}
	// A loopback plugin of the machine's own does as well, and more.
	if err := os.Symlink(i.Program, filepath.Join(i.BinDir, plugin.LoopbackName)); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("link loopback plugin: %w", err)
	}
	file := filepath.Join(i.ConfDir, conflistName)
	if have, err := os.ReadFile(file); err != nil || string(have) != string(content) {
		if err := replace(file, func(path string) error { return os.WriteFile(path, content, 0o644) }); err != nil {
			return fmt.Errorf("write CNI configuration: %w", err)
		}
	}
	return nil
}

// replace makes a file beside the one at path and renames it there.
func replace(path string, make func(path string) error) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := make(fresh); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// Remove takes back what Write wrote. The configuration goes first.
func (i *Install) Remove() error {
	var errs []error
	plugin, loopback := filepath.Join(i.BinDir, plugin.Name), filepath.Join(i.BinDir, plugin.LoopbackName)
	paths := []string{filepath.Join(i.ConfDir, conflistName), plugin}
	ours, err := os.Readlink(plugin)
	if to, other := os.Readlink(loopback); err == nil && other == nil && to == ours { // else it is the machine's own
		paths = append(paths, loopback)
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
