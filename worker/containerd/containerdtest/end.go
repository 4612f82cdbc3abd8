package containerdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/petrelrun/petrel/worker/cri/critest"
)

// end ends every pod and the daemon, removes everything, and fails the test where that leaves anything.
func (c *Containerd) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if c.CRI != nil {
		if err := c.removePods(ctx); err != nil {
			c.tb.Errorf("pods were not removed: %v; containerd's log ends:\n%s", err, c.logTail())
		}
		if err := c.CRI.Close(); err != nil {
			c.tb.Error(err)
		}
	}
	if c.images != nil {
		_ = c.images.Close() // nothing is under way
	}
	if c.cancel != nil {
		c.cancel()
		if err := <-c.done; err != nil {
			c.tb.Errorf("containerd: %v", err)
		}
		if err := c.daemon.Stop(ctx); err != nil {
			c.tb.Error(err)
		}
	}
	c.sweep()
}

// removePods ends all pods. A start whose caller is gone goes on for a moment, and may have made one by the next look.
func (c *Containerd) removePods(ctx context.Context) error {
	if err := c.CRI.WaitReady(ctx); err != nil { // a test may just have killed it
		return err
	}
	for {
		all, err := c.CRI.ListPodSandbox(ctx, nil)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			break
		}
		for _, s := range all {
			if err := critest.EndSandbox(ctx, c.CRI, s.GetId()); err != nil {
				return fmt.Errorf("%s (%s): %w", s.GetMetadata().GetName(), s.GetState(), err)
			}
		}
	}
	left, err := c.CRI.ListContainers(ctx, &runtimev1.ContainerFilter{})
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d containers are left", len(left))
	}
	return err
}

// sweep takes what is left and complains of it.
func (c *Containerd) sweep() {
	for _, pid := range c.left() {
		c.tb.Errorf("process %d is left: %s", pid, commandLine(pid))
		_ = unix.Kill(pid, unix.SIGKILL) // found by our own directory in its arguments a moment ago
	}
	for _, at := range mountsBelow(c.Dir) {
		c.tb.Errorf("mount is left: %s", at)
		_ = unix.Unmount(at, unix.MNT_DETACH)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		c.tb.Error(err)
	}
	if err := c.removeGroups(); err != nil {
		c.tb.Error(err)
	}
}

// settle is what processes and control groups have to go after the runtime has said that they have.
const settle = 5 * time.Second

// left answers shims and others that name our directory, once they had time to end.
func (c *Containerd) left() []int {
	var pids []int
	for deadline := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		pids = pids[:0]
		all, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range all {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err == nil && pid != os.Getpid() && strings.Contains(commandLine(pid), c.Dir+"/") {
				pids = append(pids, pid)
			}
		}
		if len(pids) == 0 || time.Now().After(deadline) {
			return pids
		}
	}
}

func commandLine(pid int) string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(bytes.ReplaceAll(raw, []byte{0}, []byte{' '}))
}

// mountsBelow lists mounts in the directory, the innermost first.
func mountsBelow(dir string) []string {
	raw, _ := os.ReadFile("/proc/self/mountinfo")
	var out []string
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			out = append(out, fields[4])
		}
	}
	slices.Reverse(out)
	return out
}

// removeGroups removes the control groups of pods, which nobody else does: containerd removes those of containers.
func (c *Containerd) removeGroups() error {
	var errs []error
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + c.CgroupParent)
	errs = append(errs, err)
	for _, top := range append(tops, "/sys/fs/cgroup"+c.CgroupParent) {
		var dirs []string
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil //nolint:nilerr // what has gone meanwhile is as it should be
		})
		errs = append(errs, err)
		for _, dir := range slices.Backward(dirs) {
			errs = append(errs, removeGroup(dir))
		}
	}
	return errors.Join(errs...)
}

func removeGroup(dir string) error {
	for deadline := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("control group %s is left: %w", dir, err)
		}
	}
}
