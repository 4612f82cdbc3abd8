package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Remove takes away everything that was made under dir. What is mounted there is unmounted first, and when that fails
// nothing is deleted: deleting through a mount would destroy what belongs to others.
func Remove(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, at := range mounts {
		if err := unmount(at); err != nil {
			return err
		}
	}
	if len(mounts) > 0 {
		left, err := mountsBelow(dir)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("remove %s: %s is still mounted", dir, left[0])
		}
	}
	return os.RemoveAll(dir)
}

// unmount takes a mount out of the tree at once; the kernel lets go of it when the last who has a file open there is
// done.
func unmount(at string) error {
	err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // no mount any more
		return fmt.Errorf("unmount %s: %w", at, err)
	}
	return nil
}
