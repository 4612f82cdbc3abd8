package tasks

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/petrelrun/petrel/wasmrt/shim/bundle"
	"github.com/petrelrun/petrel/wasmrt/shim/output"
)

// Exit codes of what did not end by itself, as a shell would tell them.
const (
	exitSignal = 128 // and the signal's number
	exitKilled = exitSignal + 9
)

// phase is where a task is in its life.
type phase int

const (
	phaseCreated phase = iota
	phaseRunning
	phaseStopped
)

// task is one of containerd's. What is above the mutex is set before the task is known to others.
type task struct {
	id, bundle string
	kind       bundle.Kind
	sandbox    *task  // of a Member
	podID      string // the runtime's id of the sandbox, also of what is Alone
	guestID    string // the runtime's id of the container; a sandbox has none
	module     string // the name of its module in the runtime
	pid        uint32
	relay      *output.Relay
	stdio      stdio

	// op is held by what starts the task and by what ends it, so that the start is told first.
	op sync.Mutex

	mu     sync.Mutex
	phase  phase
	code   uint32
	at     time.Time
	exited chan struct{}
	// processes are further runs of the module, by containerd's ids.
	processes map[string]*process
}

// stdio are containerd's names of a container's streams.
type stdio struct{ in, out, err string }

func (t *task) now() phase {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase
}

// exit answers how the task ended, or zeros while it has not.
func (t *task) exit() (p phase, code uint32, at *timestamppb.Timestamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == phaseStopped {
		at = timestamppb.New(t.at)
	}
	return t.phase, t.code, at
}

// move makes a created task a running one.
func (t *task) move() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase != phaseCreated {
		return false
	}
	t.phase = phaseRunning
	return true
}

// stop notes the end, once.
func (t *task) stop(code uint32, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == phaseStopped {
		return false
	}
	t.phase, t.code, t.at = phaseStopped, code, at
	return true
}
