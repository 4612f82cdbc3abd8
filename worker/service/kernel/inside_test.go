package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// insideVariable names the cgroup of a test process that is in a network namespace and a cgroup of its own.
const insideVariable = "PETREL_TEST_CGROUP"

// TestMain runs the tests once more in a process of their own, so that their programs see the tests' sockets alone.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		goleak.VerifyTestMain(m) // what needs more skips
		return
	}
	if os.Getenv(insideVariable) == "" {
		code, err := runInside()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	if err := prepareLoopback(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare loopback:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// cgroup2 is where the cgroup2 file system is.
func cgroup2() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	return ""
}

func runInside() (code int, err error) {
	cgroup, err := os.MkdirTemp(cgroup2(), "petrel-kernel-test-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.Remove(cgroup)) }()
	dir, err := os.Open(cgroup)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"="+cgroup)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL,
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// insideOrSkip is the test's cgroup.
func insideOrSkip(t testing.TB) string {
	t.Helper()
	cgroup := os.Getenv(insideVariable)
	if cgroup == "" {
		t.Skip("needs root: a network namespace, a cgroup and bpf")
	}
	return cgroup
}

// vips6 are the addresses that the loopback interface gets.
func vips6() []netip.Addr {
	var out []netip.Addr
	for ip := netip.MustParseAddr("fd47::1"); len(out) < 8; ip = ip.Next() {
		out = append(out, ip)
	}
	return out
}

func prepareLoopback() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	for _, ip := range vips6() {
		request := struct {
			addr   [16]byte
			prefix uint32
			index  int32
		}{ip.As16(), 128, 1}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&request))); errno != 0 && errno != unix.EEXIST { // which fuzzing's workers find
			return fmt.Errorf("add %s: %w", ip, errno)
		}
	}
	return nil
}

// bpffs mounts a bpf file system for the test.
func bpffs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "petrel")
}
