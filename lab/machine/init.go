package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initName is the name under which the calling program is a machine's init.
const initName = "petrel-lab-init"

// setup is what the init is told.
type setup struct {
	Hostname    string
	Hierarchies []hierarchy
}

// Init makes this process the init of a machine when it was started as one, and does not return then. Otherwise it does
// nothing. It must be the first thing that main, or TestMain, does.
func Init() {
	if len(os.Args) != 2 || os.Args[0] != initName {
		return
	}
	if err := runInit(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, initName+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runInit(told string) error {
	if os.Getpid() != 1 {
		return errors.New("this is no machine: it is started by petrel lab up")
	}
	var s setup
	if err := json.Unmarshal([]byte(told), &s); err != nil {
		return fmt.Errorf("read set-up: %w", err)
	}
	orphans := make(chan os.Signal, 1) // one waiting signal stands for any number of ended processes
	signal.Notify(orphans, syscall.SIGCHLD)
	if err := s.mounts(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	conn, err := seqConn(os.Stdin)
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte{ready}); err != nil {
		return fmt.Errorf("say ready: %w", err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process
		giveSockets(conn)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return nil // and the kernel ends all the others
		case <-orphans:
			reap()
		}
	}
}

// reap takes note of every process that has ended: whose parent is gone becomes the init's child.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err != nil || pid <= 0 {
			return
		}
	}
}

// forget takes away what the machine is to have of its own: covered by it, the host's would still be in the list of
// mounts, where programs look for them. BPF file systems go wherever they are: pins there would be the host's.
func forget() error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		before, after, _ := strings.Cut(line, " - ")
		const mountField = 4
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) <= mountField || len(kind) == 0 {
			continue
		}
		at := unescape(fields[mountField])
		if kind[0] != "bpf" && at != "/proc" && at != "/sys" && at != "/run" {
			continue
		}
		// What is mounted below goes with it, and is not found later.
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", at, err)
		}
	}
	return nil
}

// mounts makes the machine's own views of the kernel. The tree was made private when the namespace was made.
func (s *setup) mounts() error {
	if err := forget(); err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	type mount struct{ kind, at, options string }
	all := []mount{{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"bpf", "/sys/fs/bpf", "mode=0700"}, {"tmpfs", "/run", "mode=0755"}}
	const common = "/sys/fs/cgroup"
	split := true // where hierarchies have directories of their own, those lie on a tmpfs
	for _, h := range s.Hierarchies {
		split = split && h.Mount != common
	}
	if split {
		all = append(all, mount{"tmpfs", common, "mode=0755"})
	}
	for _, h := range s.Hierarchies {
		if h.unified() {
			all = append(all, mount{"cgroup2", h.Mount, ""})
		} else {
			all = append(all, mount{"cgroup", h.Mount, h.Options})
		}
	}
	for _, m := range all {
		if strings.HasPrefix(m.at, common+"/") {
			if err := os.MkdirAll(filepath.Clean(m.at), groupPerm); err != nil {
				return fmt.Errorf("make mount point: %w", err)
			}
		}
		err := unix.Mount(m.kind, m.at, m.kind, flags, m.options)
		if m.kind == "bpf" && (errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist)) {
			continue // a kernel without BPF still makes a machine
		}
		if err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.kind, m.at, err)
		}
	}
	// As systemd has it: what a container is to see of the machine's mounts, or the machine of its, has to be shared.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts within the machine: %w", err)
	}
	return nil
}
