package ebpfproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxNetns bounds the namespaces that one pass visits, each of which is held open for a moment.
const maxNetns = 4096

// eachNetns calls do on a thread inside each network namespace that processes of the cgroup are in, and in this process'
// own.
func eachNetns(cgroup string, do func() error) error {
	spaces, err := netnsOf(cgroup)
	for _, f := range spaces {
		defer f.Close()
	}
	errs := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, wherever it is by then.
		runtime.LockOSThread()
		err := do()
		for _, f := range spaces {
			if e := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); e != nil {
				err = errors.Join(err, fmt.Errorf("enter network namespace: %w", e))
				continue
			}
			err = errors.Join(err, do())
		}
		errs <- err
	}()
	return errors.Join(err, <-errs)
}

// netnsCookie names the network namespace of the caller's thread; 0 on kernels before 5.14, which do not tell.
func netnsCookie() uint64 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}

// netnsOf opens the namespaces other than this process' own.
func netnsOf(cgroup string) ([]*os.File, error) {
	seen := map[uint64]bool{}
	if own, err := os.Stat("/proc/self/ns/net"); err == nil {
		seen[inode(own)] = true
	}
	var spaces []*os.File
	err := filepath.WalkDir(cgroup, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return skipGone(err)
		}
		return eachTask(path, func(pid string) error {
			f, err := openNetns(pid, seen)
			if f != nil {
				spaces = append(spaces, f)
			}
			if len(spaces) > maxNetns {
				return fmt.Errorf("more than %d network namespaces", maxNetns)
			}
			return err
		})
	})
	return spaces, err
}

// eachTask reads the processes of one cgroup, or its threads where those are placed one by one.
func eachTask(cgroup string, do func(pid string) error) error {
	f, err := os.Open(filepath.Join(cgroup, "cgroup.procs"))
	if err != nil {
		return skipGone(err)
	}
	defer f.Close()
	err = scanTasks(f, do)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return skipGone(err)
	}
	threads, err := os.Open(filepath.Join(cgroup, "cgroup.threads"))
	if err != nil {
		return skipGone(err)
	}
	defer threads.Close()
	return skipGone(scanTasks(threads, do))
}

func scanTasks(f *os.File, do func(pid string) error) error {
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := do(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// openNetns answers nil for a namespace that was seen, and for a process that ended.
func openNetns(pid string, seen map[uint64]bool) (*os.File, error) {
	path := "/proc/" + pid + "/ns/net"
	info, err := os.Stat(path)
	if err != nil {
		return nil, skipGone(err)
	}
	if seen[inode(info)] {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, skipGone(err)
	}
	seen[inode(info)] = true
	return f, nil
}

func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// skipGone: processes and groups end while they are looked at.
func skipGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
