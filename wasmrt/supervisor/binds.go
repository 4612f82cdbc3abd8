package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/petrelrun/petrel/wasmrt/runner/control"
	"github.com/petrelrun/petrel/wasmrt/supervisor/users"
)

// bindPerm lets every user come to the mounts that are bound here, and list their places, which have numbers for names: a
// guest's file is opened in its directory. Who may read what is bound is said by its own modes.
const bindPerm = 0o755

// BindDir is where the supervisor of a root binds what its runners could not come to.
func BindDir(root string) string { return filepath.Join(root, "mounts") }

func (s *Supervisor) bindDir(sandboxID, containerID string) string {
	return filepath.Join(BindDir(s.cfg.Root), sandboxID, containerID)
}

// bindMounts makes a way to mounts that lie behind directories which are closed to a runner with a user id of its own, such
// as a kubelet's: a container runtime mounts them as root, and so does this one. What it may read there is for the files' modes to say.
func (s *Supervisor) bindMounts(p *control.CreateParams, user uint32) error {
	if user == 0 {
		return nil
	}
	dir := s.bindDir(p.SandboxID, p.ID)
	for i := range p.Mounts {
		m := &p.Mounts[i]
		var closed *users.ClosedError
		if err := users.Reachable(filepath.Dir(m.HostPath)); !errors.As(err, &closed) {
			continue // it can be reached, or is not there, which the runner tells
		}
		target := filepath.Join(dir, strconv.Itoa(i))
		err := bind(m.HostPath, target)
		if errors.Is(err, unix.EPERM) {
			continue // without the right to mount, the runner tells that it cannot reach it
		}
		if err != nil {
			return errors.Join(fmt.Errorf("mount %s: %w", m.HostPath, err), unbind(dir))
		}
		m.HostPath = target
	}
	return nil
}

// UnbindAll takes away what a supervisor of the root has left bound. None may serve it.
func UnbindAll(root string) error {
	entries, err := os.ReadDir(BindDir(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, unbind(filepath.Join(BindDir(root), e.Name())))
	}
	return errors.Join(errs...)
}

// bind binds a directory or file to a place that it makes.
func bind(source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), bindPerm); err != nil {
		return err
	}
	if info.IsDir() {
		err = os.Mkdir(target, bindPerm)
	} else {
		err = os.WriteFile(target, nil, 0o600)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return errors.Join(err, os.Remove(target))
	}
	// What is mounted in the volume later comes here too, and nothing goes back.
	return unix.Mount("", target, "", unix.MS_SLAVE|unix.MS_REC, "")
}

// unbind takes away what is bound below dir, and the places. Nothing is removed that could be a volume's: a place is empty.
func unbind(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	var errs []error
	for _, e := range entries {
		at := filepath.Join(dir, e.Name())
		switch err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); {
		case err == nil:
			errs = append(errs, os.Remove(at))
		case errors.Is(err, unix.EINVAL) && e.IsDir(): // no mount, but where some are
			errs = append(errs, unbind(at))
		case errors.Is(err, unix.EINVAL):
			errs = append(errs, os.Remove(at))
		default:
			errs = append(errs, fmt.Errorf("unmount %s: %w", at, err))
		}
	}
	errs = append(errs, os.Remove(dir))
	return errors.Join(errs...)
}

// unbind takes away what is bound for a container, or for all of a sandbox when none is named.
func (s *Supervisor) unbind(sandboxID, containerID string) {
	if err := unbind(s.bindDir(sandboxID, containerID)); err != nil {
		s.cfg.Logger.Warn("mounts are left", "sandbox", sandboxID, "error", err)
	}
}

// sweepBinds takes away what is bound for sandboxes that are gone or not ready.
func (s *Supervisor) sweepBinds() {
	entries, err := os.ReadDir(BindDir(s.cfg.Root))
	if err != nil {
		return // there are none
	}
	for _, e := range entries {
		s.mu.RLock()
		b := s.sandboxes[e.Name()]
		ready := b != nil && b.record.Ready
		s.mu.RUnlock()
		if !ready {
			s.unbind(e.Name(), "")
		}
	}
}
