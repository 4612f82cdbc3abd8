package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Options describe a cluster to start.
type Options struct {
	// Dir is the cluster's folder: data, logs and its links of the binaries. It must be empty or a cluster's.
	Dir string
	// Binaries is the folder with petrel and petrel-wasmrt.
	Binaries string
	// Containers is how many nodes of StartNodes, the first ones, run containers too.
	Containers int
	// DualStack gives nodes and pods of StartNodes addresses of IPv6 too.
	DualStack bool
	// Args are added to `petrel up`, or to each worker of StartNodes, and ControlPlaneArgs to its control plane.
	Args, ControlPlaneArgs []string
}

// Validate tells what is missing.
func (o Options) Validate() error {
	if o.Dir == "" || o.Binaries == "" {
		return errors.New("validate cluster options: Dir and Binaries are needed")
	}
	return nil
}

// The programs that a cluster's processes run.
const (
	petrelBinary = "petrel"
	wasmrtBinary = "petrel-wasmrt"
)

// userspaceProxy keeps a cluster's eBPF programs out of the group of every process of this machine. Options.Args may say
// otherwise, with a group of the test's own.
const userspaceProxy = "--proxy=userspace"

// undisturbed are flags of nodes that neither evict pods nor remove images for what else this machine's disk and memory
// hold. Options.Args may say otherwise.
func undisturbed() []string { return []string{"--eviction-hard=", "--image-gc-high-threshold=100"} }

// linkBinaries puts the binaries below dir, as hard links where the file system allows.
func linkBinaries(from, dir string) (string, error) {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("make binary folder: %w", err)
	}
	for _, name := range []string{petrelBinary, wasmrtBinary} {
		target := filepath.Join(bin, name)
		err := os.Link(filepath.Join(from, name), target)
		if err == nil || errors.Is(err, fs.ErrExist) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return "", fmt.Errorf("copy binary: %w", err)
		}
		if err := os.WriteFile(target, data, 0o755); err != nil {
			return "", fmt.Errorf("copy binary: %w", err)
		}
	}
	// /proc/PID/exe has symbolic links resolved; so must what it is compared with.
	real, err := filepath.EvalSymlinks(bin)
	if err != nil {
		return "", fmt.Errorf("resolve binary folder: %w", err)
	}
	return real, nil
}
