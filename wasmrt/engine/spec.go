package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// MaxArgumentBytes bounds arguments and environment together, as the kernel's own limit does for processes.
const MaxArgumentBytes = 1 << 20

// Spec says what an instance is given.
type Spec struct {
	Args []string // the program's name first
	Env  []string // KEY=value; of two with one key the later counts

	// Stdin may be nil: then it is empty. A Read that blocks when the guest is killed is left behind and its result
	// is lost.
	Stdin io.Reader
	// Stdout and Stderr may be nil: then what is written is lost. When several instances have the same Spec, they write
	// concurrently. A Write that blocks when the guest is killed is left behind.
	Stdout, Stderr io.Writer

	Mounts []wasi.Mount
	// MemoryLimit bounds the instance's memory, in bytes; zero means DefaultMemoryLimit.
	MemoryLimit uint64
	// CPUTime bounds the processor time of one call; zero means no bound.
	CPUTime time.Duration
	// CallDepth bounds how deeply the guest's functions may call each other; zero means DefaultCallDepth.
	CallDepth uint32
	// MaxFiles bounds the open descriptors; zero means the WASI layer's default.
	MaxFiles int
	// Listeners are sockets the guest may accept connections from. Their descriptors follow the mounts'.
	Listeners []net.Listener
}

// DefaultCallDepth is an instance's where its Spec names none.
const DefaultCallDepth = 20_000

// Validate checks what can be told without a module.
func (s Spec) Validate() error {
	total := 0
	for _, a := range s.Args {
		if strings.ContainsRune(a, 0) {
			return errors.New("check spec: an argument has a zero byte")
		}
		total += len(a) + 1
	}
	for _, e := range s.Env {
		key, _, ok := strings.Cut(e, "=")
		if !ok || key == "" || strings.ContainsRune(e, 0) {
			return fmt.Errorf("check spec: environment entry %q is not KEY=value", e)
		}
		total += len(e) + 1
	}
	if total > MaxArgumentBytes {
		return fmt.Errorf("check spec: arguments and environment have %d bytes, the limit is %d", total, MaxArgumentBytes)
	}
	if s.CPUTime < 0 || s.MaxFiles < 0 {
		return errors.New("check spec: a limit is negative")
	}
	return wasi.ValidateAll(s.Mounts)
}
