package engine

import (
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"github.com/petrelrun/petrel/wasmrt/egress"
	"github.com/petrelrun/petrel/wasmrt/wasi"
)

// MaxArgumentBytes bounds arguments and environment together, as the kernel's own limit does for processes.
const MaxArgumentBytes = wasi.MaxArgumentBytes

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
	// Egress is what the guest may connect to; nil is nothing.
	Egress *egress.Policy
	// Progress is told what instances take while they run; nil is nobody.
	Progress *Progress
}

// DefaultCallDepth is an instance's where its Spec names none.
const DefaultCallDepth = 20_000

// Validate checks what can be told without a module.
func (s Spec) Validate() error {
	if s.CPUTime < 0 {
		return fmt.Errorf("check spec: a processor time of %s", s.CPUTime)
	}
	if s.CallDepth > math.MaxInt32 {
		return fmt.Errorf("check spec: a call depth of %d, the limit is %d", s.CallDepth, math.MaxInt32)
	}
	if err := s.wasiConfig().Validate(); err != nil {
		return fmt.Errorf("check spec: %w", err)
	}
	return nil
}
