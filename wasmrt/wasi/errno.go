package wasi

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	sys "github.com/tetratelabs/wazero/experimental/sys"
)

// errnoOf turns an error of package os into what the guest is told. os.Root's own refusals (a path that leads out of the
// jail) carry no errno: they become EPERM, as other runtimes have it.
func errnoOf(err error) sys.Errno {
	if err == nil {
		return 0
	}
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		if errno == syscall.EXDEV || errno == syscall.ETXTBSY {
			return sys.EPERM
		}
		return sys.UnwrapOSError(errno)
	case errors.Is(err, fs.ErrClosed):
		return sys.EBADF
	case errors.Is(err, fs.ErrNotExist):
		return sys.ENOENT
	case errors.Is(err, fs.ErrExist):
		return sys.EEXIST
	}
	var pathErr *os.PathError
	var linkErr *os.LinkError
	if errors.As(err, &pathErr) || errors.As(err, &linkErr) {
		return sys.EPERM
	}
	return sys.UnwrapOSError(err)
}
