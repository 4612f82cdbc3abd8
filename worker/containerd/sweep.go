package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// keepClean removes what the daemon has lost, as soon as it serves and now and then, until ctx ends: some of it is known
// until its pod is removed.
func (d *Daemon) keepClean(ctx context.Context) {
	client, err := NewClient(d.Socket())
	if err != nil { // a path that Validate has let through is an address
		d.cfg.Logger.Error("what containerd loses is not removed", "error", err)
		return
	}
	defer client.Close()
	for d.Ready(ctx) == nil {
		if err := d.sweep(ctx, client); err != nil && ctx.Err() == nil {
			d.cfg.Logger.Warn("what containerd has lost was not all removed", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(sweepPeriod):
		}
	}
}

// sweep removes what was lost for a while.
func (d *Daemon) sweep(ctx context.Context, client *Client) error {
	first, err := d.cfg.lost(ctx, client)
	if err != nil || first.none() {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(sweepSettle):
	}
	second, err := d.cfg.lost(ctx, client)
	if err != nil {
		return err
	}
	var errs []error
	still := first.and(second)
	for _, id := range still.containers {
		d.cfg.Logger.Warn("removing what is left of a container that containerd has lost", "id", id)
		errs = append(errs, d.cfg.removeContainer(ctx, id))
	}
	for _, name := range still.netns {
		d.cfg.Logger.Warn("removing a network namespace that containerd has lost", "name", name)
		errs = append(errs, removeMounted(filepath.Join(d.cfg.spaces(), name)))
	}
	return errors.Join(errs...)
}

// lost finds what there is of which the daemon that serves knows nothing.
func (c *Config) lost(ctx context.Context, client *Client) (lost, error) {
	ids, err := c.traces()
	if err != nil {
		return lost{}, err
	}
	spaces, err := c.oldSpaces()
	if err != nil || len(ids)+len(spaces) == 0 {
		return lost{}, err
	}
	known, err := client.records(ctx, spaces)
	if err != nil {
		return lost{}, err
	}
	var out lost
	for _, id := range ids {
		if !known.ids[id] {
			out.containers = append(out.containers, id)
		}
	}
	for _, name := range spaces {
		if !known.named[name] {
			out.netns = append(out.netns, name)
		}
	}
	return out, nil
}

// removeContainer removes all that is left of a container that has no record: its shim, its processes with their control
// groups, its mounts and its files.
func (c *Config) removeContainer(ctx context.Context, id string) error {
	all, err := shims(c.socket())
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.id != id {
			continue
		}
		if err := s.end(c.socket()); err != nil {
			return err
		}
		removeSocket(filepath.Join(c.bundles(), id))
	}
	if err := c.kill(ctx, id); err != nil {
		return err
	}
	var errs []error
	for _, dir := range []string{c.bundles(), c.work()} {
		for _, name := range []string{id, hidden + id} {
			errs = append(errs, removeMounted(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// kill has the program that ran the container end its processes and remove their control groups.
func (c *Config) kill(ctx context.Context, id string) error {
	dir := filepath.Join(c.runc(), id)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	program := c.programOf(dir)
	if program == "" {
		return fmt.Errorf("end container %s: no program knows its state", id)
	}
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--root", c.runc(), "delete", "--force", id).CombinedOutput()
	if err != nil {
		return fmt.Errorf("end container %s: %w: %.1000s", id, err, out)
	}
	return os.RemoveAll(dir) // state of a container that was never made whole stays
}

// programOf is the one whose state of a container is in a directory: crun keeps it in another file than runc.
func (c *Config) programOf(dir string) string {
	_, err := os.Lstat(filepath.Join(dir, "status"))
	for _, h := range c.Handlers {
		if h.Type == RuncShim && strings.HasPrefix(filepath.Base(h.Binary), "crun") == (err == nil) {
			return h.Binary
		}
	}
	return ""
}

// removeSocket removes what the shim of a bundle has listened at: nobody will again.
func removeSocket(bundle string) {
	raw, err := os.ReadFile(filepath.Join(bundle, "address"))
	path, ok := strings.CutPrefix(strings.TrimSpace(string(raw)), "unix://")
	if err != nil || !ok || !filepath.IsAbs(path) {
		return
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		_ = os.Remove(path) // a file of no bytes
	}
}

// removeMounted removes a file or a directory once nothing is mounted in it. What cannot be unmounted stays: behind it are
// others' files.
func removeMounted(path string) error {
	mounts, err := mountsBelow(path)
	if err != nil {
		return err
	}
	for _, at := range mounts {
		if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", at, err)
		}
	}
	if mounts, err = mountsBelow(path); err != nil || len(mounts) > 0 {
		return errors.Join(err, fmt.Errorf("remove %s: %d mounts are left in it", path, len(mounts)))
	}
	return os.RemoveAll(path)
}
