package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// confinedEnv makes the test's own binary a process that confines itself and tells what it can still do.
const confinedEnv = "PETREL_TEST_CONFINED"

func TestMain(m *testing.M) {
	if raw := os.Getenv(confinedEnv); raw != "" {
		os.Exit(confined([]byte(raw)))
	}
	os.Exit(m.Run())
}

// told is what a confined process answers.
type told struct {
	Report Report
	Tried  map[string]string // error by what was tried
}

func confined(raw []byte) int {
	var c Config
	if err := json.Unmarshal(raw, &c); err != nil {
		return 3
	}
	c.Logger = slog.New(slog.DiscardHandler)
	// Threads that exist already are bound, too.
	tasks := make(chan func())
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(func() {
			time.Sleep(time.Millisecond)
			for f := range tasks {
				f()
			}
		})
	}
	report, err := Apply(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 4
	}
	t := told{Report: report, Tried: map[string]string{}}
	var mu sync.Mutex
	for name, f := range attempts(c) {
		for range 4 {
			tasks <- func() {
				err := f()
				mu.Lock()
				defer mu.Unlock()
				if err != nil || t.Tried[name] == "" {
					t.Tried[name] = fmt.Sprint(err)
				}
			}
		}
	}
	close(tasks)
	busy.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(t); err != nil {
		return 5
	}
	return 0
}

func attempts(c Config) map[string]func() error {
	return map[string]func() error{
		"exec": func() error { return exec.Command("/proc/self/exe").Run() },
		"fork": func() error {
			_, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
			return result(errno)
		},
		"clone3": func() error { _, _, errno := syscall.Syscall(unix.SYS_CLONE3, 0, 0, 0); return result(errno) },
		"ptrace": func() error {
			_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, syscall.PTRACE_ATTACH, uintptr(os.Getppid()), 0, 0, 0, 0)
			return result(errno)
		},
		"mount":      func() error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") },
		"setuid":     func() error { _, _, errno := syscall.Syscall(syscall.SYS_SETUID, 0, 0, 0); return result(errno) },
		"kill":       func() error { return syscall.Kill(os.Getppid(), 0) },
		"raw socket": func() error { return socket(unix.AF_INET, unix.SOCK_RAW) },
		"unix":       func() error { return socket(unix.AF_UNIX, unix.SOCK_STREAM) },
		"packet":     func() error { return socket(unix.AF_PACKET, unix.SOCK_DGRAM) },
		"netlink":    func() error { return socket(unix.AF_NETLINK, unix.SOCK_DGRAM) },
		"tcp":        func() error { return socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) },
		"udp6":       func() error { return socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC) },
		"listen": func() error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			return l.Close()
		},
		"thread": func() error {
			done := make(chan struct{})
			go func() { // a locked goroutine that ends takes its thread along, so the next needs a new one
				defer close(done)
				runtime.LockOSThread()
			}()
			<-done
			return nil
		},
		"pagemap": func() error { return openAny("/proc/self/pagemap", os.O_RDONLY) },
		"memfd": func() error {
			fd, err := unix.MemfdCreate("snapshot", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
			return err
		},
		"code": func() error {
			b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return err
			}
			defer func() { _ = unix.Munmap(b) }()
			return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
		},
		"read passwd":  func() error { return openAny("/etc/passwd", os.O_RDONLY) },
		"host limits":  func() error { return openAny("/proc/sys/vm/max_map_count", os.O_RDONLY) },
		"read module":  func() error { return openAny(filepath.Join(c.ReadOnly[0], "f"), os.O_RDONLY) },
		"write module": func() error { return openAny(filepath.Join(c.ReadOnly[0], "f"), os.O_RDWR) },
		"device":       func() error { return openAny("/dev/null", os.O_RDWR) },
		"write log": func() error {
			if len(c.ReadWrite) == 0 {
				return nil
			}
			dir, err := os.MkdirTemp(c.ReadWrite[0], "d")
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "0.log"), []byte("x"), 0o600); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "0.log"), filepath.Join(c.ReadWrite[0], filepath.Base(dir)+".log"))
		},
	}
}

func result(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

func socket(family, kind int) error {
	fd, err := unix.Socket(family, kind, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func openAny(path string, flag int) error {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			return p.Err
		}
		return err
	}
	return f.Close()
}

// run starts a confined process as a user and answers what it told.
func run(t *testing.T, c Config, user uint32) told {
	t.Helper()
	raw, err := json.Marshal(struct{ ReadOnly, ReadWrite []string }{c.ReadOnly, c.ReadWrite})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{confinedEnv + "=" + string(raw)}
	cmd.Stderr = os.Stderr
	if user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("confined process: %v\n%s", err, out)
	}
	var got told
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return got
}

const (
	fine   = "<nil>"
	denied = "operation not permitted"
	closed = "permission denied"
	absent = "function not implemented"
)

func TestCalls(t *testing.T) {
	for _, user := range users() {
		t.Run(fmt.Sprint(user), func(t *testing.T) {
			c := dirs(t)
			got := run(t, Config{ReadOnly: c.ReadOnly}, user)
			t.Log(got.Report)
			if !strings.HasPrefix(got.Report[Seccomp], "on: ") {
				t.Fatalf("the filter: %s", got.Report[Seccomp])
			}
			for name, want := range map[string]string{
				"fork": denied, "clone3": absent, "ptrace": denied, "mount": denied, "setuid": denied, "kill": denied,
				"raw socket": denied, "unix": denied, "packet": denied, "netlink": denied,
				"tcp": fine, "udp6": fine, "listen": fine, "thread": fine, "pagemap": fine, "memfd": fine, "code": fine,
				"device": fine, "read module": fine, "read passwd": fine,
			} {
				if got.Tried[name] != want {
					t.Errorf("%s: %s, want %s", name, got.Tried[name], want)
				}
			}
			if got.Tried["exec"] == fine {
				t.Error("a program could be executed")
			}
		})
	}
}

func TestPaths(t *testing.T) {
	if v, err := ll.LandlockGetABIVersion(); err != nil || v < 2 {
		t.Skipf("this kernel's landlock is of ABI %d: %v", v, err)
	}
	for _, user := range users() {
		t.Run(fmt.Sprint(user), func(t *testing.T) {
			got := run(t, dirs(t), user)
			if report := got.Report[Landlock]; !strings.HasPrefix(report, "on: ") {
				if raceEnabled { // cgo's threads are not the runtime's to reach
					t.Skip(report)
				}
				t.Fatalf("landlock: %s", report)
			}
			for name, want := range map[string]string{
				"read passwd": closed, "host limits": fine, "read module": fine, "write module": closed, "write log": fine, "device": fine, "pagemap": fine, "listen": fine,
			} {
				if got.Tried[name] != want {
					t.Errorf("%s: %s, want %s", name, got.Tried[name], want)
				}
			}
		})
	}
}

func TestValidate(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, c := range []Config{{}, {Logger: log, ReadOnly: []string{"x"}}, {Logger: log, ReadWrite: []string{"/x", "y"}}} {
		if _, err := Apply(c); err == nil {
			t.Errorf("%+v was applied", c)
		}
	}
}

// TestPolicyOfOtherMachines: the list is made for each architecture that Go runs wazero's compiler on.
func TestPolicyOfOtherMachines(t *testing.T) {
	for _, name := range []string{"amd64", "arm64"} {
		a, err := arch.GetInfo(name)
		if err != nil {
			t.Fatal(err)
		}
		p := policy(a)
		if n := len(p.Syscalls[0].Names); n < 100 {
			t.Errorf("%s: %d calls", name, n)
		}
		if name == "amd64" {
			if _, err := p.Assemble(); err != nil {
				t.Error(err)
			}
		}
	}
}

// users are root, where the test is, and somebody else.
func users() []uint32 {
	if os.Geteuid() != 0 {
		return []uint32{0} // as we are
	}
	return []uint32{0, 1879048192}
}

// dirs makes a directory to read and one to write that every user can enter.
func dirs(t *testing.T) Config {
	t.Helper()
	c := Config{ReadOnly: []string{t.TempDir()}, ReadWrite: []string{t.TempDir()}}
	for _, dir := range []string{c.ReadOnly[0], c.ReadWrite[0]} {
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(c.ReadWrite[0], 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.ReadOnly[0], "f"), []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(c.ReadOnly[0], "f"), 0o666); err != nil {
		t.Fatal(err)
	}
	return c
}
