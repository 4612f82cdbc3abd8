package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrClosed is returned for work asked of a closed engine or template.
var ErrClosed = errors.New("the engine is closed")

// TrapError says that the guest broke off: it executed an instruction that cannot be (a division by zero, an access
// outside its memory, unreachable) or exhausted its stack.
type TrapError struct {
	// Function is the guest's function that trapped, e.g. "main.divide", or "function 12" when the module has no name
	// section; empty when it cannot be told.
	Function string
	// Reason is the engine's, e.g. "integer divide by zero".
	Reason string
	// Stack is the call stack, innermost first, cut at maxFrames.
	Stack []string
}

func (e *TrapError) Error() string {
	if e.Function == "" {
		return "guest trapped: " + e.Reason
	}
	return fmt.Sprintf("guest trapped in %s: %s", e.Function, e.Reason)
}

// ExitError says that the guest ended itself by proc_exit, which a reactor should not do and a command does with zero.
type ExitError struct {
	Code uint32
}

func (e *ExitError) Error() string { return fmt.Sprintf("guest exited with code %d", e.Code) }

// MemoryError says that the guest's memory limit is the reason: either its memory is larger than that from the start,
// or it died after a refused memory.grow, and then Err is the *TrapError or *ExitError that it died of.
type MemoryError struct {
	Limit uint64 // bytes
	Need  uint64 // bytes the guest asked for
	Err   error
}

func (e *MemoryError) Error() string {
	s := fmt.Sprintf("guest needs %s of memory, the limit is %s", mib(e.Need), mib(e.Limit))
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *MemoryError) Unwrap() error { return e.Err }

func mib(n uint64) string {
	s := fmt.Sprintf("%.1f", float64(n)/(1<<20))
	return strings.TrimSuffix(s, ".0") + " MiB"
}

// KilledError says that the guest was ended because its context was. Cause is the context's cause.
type KilledError struct {
	Cause error
}

func (e *KilledError) Error() string { return "guest killed: " + e.Cause.Error() }

func (e *KilledError) Unwrap() error { return e.Cause }

// CPUTimeError says that a call took more processor time than its Spec allows.
type CPUTimeError struct {
	Limit time.Duration
	// Function is the guest's function that was running, as a TrapError's.
	Function string
}

func (e *CPUTimeError) Error() string {
	if e.Function == "" {
		return fmt.Sprintf("guest took more than %s of processor time", e.Limit)
	}
	return fmt.Sprintf("guest took more than %s of processor time, last in %s", e.Limit, e.Function)
}
