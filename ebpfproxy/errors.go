package ebpfproxy

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrUnsupported is what Open fails with where this kernel, or these rights, cannot carry the proxy: a caller falls back.
var ErrUnsupported = errors.New("bpf is not available here")

// ErrClosed is answered by a Proxy that is not open.
var ErrClosed = errors.New("proxy is not open")

// ErrInvalid is wrapped by the complaints about a service that cannot be served as given; the others are.
var ErrInvalid = errors.New("invalid service")

// FullError tells that a table has no room for all that was asked for. What was there stays and serves, and what fitted
// was added; the next Sync adds the rest when there is room.
type FullError struct {
	Table   string // a field of Sizes
	Limit   int
	Missing int // entries that found no room
}

func (e *FullError) Error() string {
	return fmt.Sprintf("table %s is full at %d: no room for %d", e.Table, e.Limit, e.Missing)
}

// unsupported marks errors that tell of a missing feature or right, rather than of a bug or of a passing state.
func unsupported(err error) error {
	for _, e := range []error{ebpf.ErrNotSupported, unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EOPNOTSUPP, unix.EINVAL} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return err
}
