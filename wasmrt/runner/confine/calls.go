package confine

import (
	"fmt"
	"runtime"
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// allowed are the system calls of a runner, by what they are for. A name that this architecture does not have is left
// out: some have older forms on some.
var allowed = [][]string{
	{ // the Go runtime: memory, threads, signals, time
		"mmap", "munmap", "mprotect", "madvise", "mremap", "brk", "mincore", "mlock", "munlock", "prctl", "arch_prctl", "rseq",
		"futex", "futex_waitv", "set_robust_list", "set_tid_address", "gettid", "getpid", "getppid", "tgkill", "exit", "exit_group",
		"sched_yield", "sched_getaffinity", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
		"clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "setitimer", "timer_create", "timer_settime",
		"timer_delete", "getrandom", "getrusage", "getrlimit", "prlimit64", "uname", "sysinfo", "membarrier", "map_shadow_stack",
		"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "pipe2", "poll", "ppoll", "select", "pselect6",
	},
	{ // who am I: the library asks before it believes its environment
		"getuid", "geteuid", "getgid", "getegid", "getgroups", "capget",
	},
	{ // instances: a snapshot is a sealed memfd, and a reset asks the page map
		"memfd_create", "fcntl", "ioctl", "ftruncate", "fallocate",
	},
	{ // descriptors
		"read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2", "lseek", "close", "close_range",
		"dup", "dup2", "dup3", "fsync", "fdatasync", "sync_file_range", "fadvise64", "flock", "sendfile", "splice", "copy_file_range",
	},
	{ // files: modules, machine code, logs, mounts
		"open", "openat", "openat2", "access", "faccessat", "faccessat2", "stat", "fstat", "lstat", "newfstatat", "statx", "fstatfs", "statfs",
		"getdents64", "readlink", "readlinkat", "getcwd", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2",
		"link", "linkat", "symlink", "symlinkat", "truncate", "fchmod", "fchmodat", "fchmodat2", "chmod", "utimensat", "futimesat", "umask",
	},
	{ // sockets; which kinds, see socketFamilies
		"bind", "listen", "accept", "accept4", "connect", "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt",
		"sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg",
	},
}

// Sockets that can be made are streams and datagrams of the internet families. The supervisor's is handed down. A type's
// low bits are its number, SOCK_STREAM 1 and SOCK_DGRAM 2; higher ones are flags.
var (
	socketFamilies = []uint64{unix.AF_INET, unix.AF_INET6}
	otherTypes     = []uint64{0xf &^ unix.SOCK_STREAM, 0xf &^ unix.SOCK_DGRAM} // bits that neither may have
)

// conditional are the calls whose arguments are looked at.
var conditional = []string{"clone", "socket"}

// noSuchCall makes a library fall back on the older form: clone3 takes its flags through a pointer, which a filter
// cannot look behind.
const noSuchCall = seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)

// policy answers the filter's rules for an architecture.
func policy(a *arch.Info) seccomp.Policy {
	known := func(name string) bool {
		_, ok := a.SyscallNames[name]
		return ok
	}
	var names []string
	for _, group := range allowed {
		for _, name := range group {
			if known(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	// A thread is allowed, a process is not.
	limited := []seccomp.NameWithConditions{{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}}}}
	for _, family := range socketFamilies {
		for _, bits := range otherTypes {
			limited = append(limited, seccomp.NameWithConditions{Name: "socket", Conditions: seccomp.ArgumentConditions{
				{Argument: 0, Operation: seccomp.Equal, Value: family}, {Argument: 1, Operation: seccomp.BitsNotSet, Value: bits},
			}})
		}
	}
	p := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{
		{Names: names, NamesWithCondtions: limited, Action: seccomp.ActionAllow},
	}}
	if known("clone3") {
		p.Syscalls = append(p.Syscalls, seccomp.SyscallGroup{Names: []string{"clone3"}, Action: noSuchCall})
	}
	return p
}

// filterCalls loads the allow-list for all threads. What is not on it fails with EPERM.
func filterCalls() string {
	a, err := arch.GetInfo("")
	if err != nil {
		return off(err)
	}
	p := policy(a)
	// The filter is made for the calling thread, and from there for the others: it must not move meanwhile.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: p})
	if err != nil {
		return off(err)
	}
	return on(fmt.Sprintf("%d system calls are allowed", len(p.Syscalls[0].Names)+len(conditional)))
}
