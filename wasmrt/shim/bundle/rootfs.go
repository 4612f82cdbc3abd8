package bundle

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// RootMount is a mount that makes up a root file system.
type RootMount struct {
	Type, Source string
	Options      []string
}

// maxMountData is what the kernel takes of a file system's options: a page with its end.
const maxMountData = 4095

// mountFlags are the options that are flags to the kernel; true sets the flag.
var mountFlags = map[string]struct {
	set  bool
	flag uintptr
}{
	"ro": {true, unix.MS_RDONLY}, "rw": {false, unix.MS_RDONLY}, "bind": {true, unix.MS_BIND}, "rbind": {true, unix.MS_BIND | unix.MS_REC},
	"nosuid": {true, unix.MS_NOSUID}, "nodev": {true, unix.MS_NODEV}, "noexec": {true, unix.MS_NOEXEC}, "noatime": {true, unix.MS_NOATIME},
	"relatime": {true, unix.MS_RELATIME}, "defaults": {},
}

// Mounted mounts a root file system at dir while f looks into it. A guest never sees it: only its module is taken out.
func Mounted(dir string, mounts []RootMount, f func() error) (err error) {
	if len(mounts) == 0 {
		return f() // containerd was told to mount it itself, or there is nothing to mount
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("mount root file system: %w", err)
	}
	done := 0
	defer func() {
		for range done {
			err = errors.Join(err, os.NewSyscallError("umount", unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)))
		}
	}()
	for _, m := range mounts {
		flags, data := mountOptions(m.Options)
		if len(data) > maxMountData {
			return fmt.Errorf("mount root file system: its %d layers are more than the kernel mounts", strings.Count(data, ":")+1)
		}
		// What an image brings is data here: nothing in it is a device or a program of this host.
		if err := unix.Mount(m.Source, dir, m.Type, flags|unix.MS_NODEV|unix.MS_NOSUID, data); err != nil {
			return fmt.Errorf("mount root file system: %s: %w", m.Type, err)
		}
		done++
	}
	return f()
}

// mountOptions splits options into the kernel's flags and the file system's own.
func mountOptions(options []string) (flags uintptr, data string) {
	var own []string
	for _, o := range options {
		f, ok := mountFlags[o]
		switch {
		case !ok:
			own = append(own, o)
		case f.set:
			flags |= f.flag
		default:
			flags &^= f.flag
		}
	}
	return flags, strings.Join(own, ",")
}
