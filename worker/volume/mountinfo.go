package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountInfo is the kernel's list of what is mounted where.
const mountInfo = "/proc/self/mountinfo"

// mountsBelow lists what is mounted at dir and below it, the newest first: that is the order in which to unmount.
func mountsBelow(dir string) ([]string, error) {
	content, err := os.ReadFile(mountInfo)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	all := mountPoints(string(content))
	var out []string
	for i := len(all) - 1; i >= 0; i-- {
		if all[i] == real || strings.HasPrefix(all[i], real+"/") {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// mountPoints reads the mount points out of mountinfo: "id parent major:minor root mountpoint options …".
func mountPoints(info string) []string {
	const mountField = 4
	var out []string
	for line := range strings.Lines(info) {
		if fields := strings.Fields(line); len(fields) > mountField {
			out = append(out, unescape(fields[mountField]))
		}
	}
	return out
}

// unescape undoes the kernel's octal escapes of space, tab, line feed and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// isMountPoint tells whether something is mounted right at the path.
func isMountPoint(path string) (bool, error) {
	id, err := mountID(path)
	if err != nil {
		return false, err
	}
	above, err := mountID(filepath.Dir(path))
	return id != above, err
}

func mountID(path string) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st); err != nil {
		return 0, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return st.Mnt_id, nil
}
