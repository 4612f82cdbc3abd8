package confine

import (
	"golang.org/x/sys/unix"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// noNewPrivileges makes execve unable to give more than the process has. The filter forbids execve; this holds where
// there is no filter, and it is what lets a process without privileges load one.
func noNewPrivileges() string {
	if err := ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return off(err)
	}
	return on("all threads")
}
