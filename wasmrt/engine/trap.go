package engine

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

// maxFrames bounds the stack kept of a trap; an endless recursion has millions.
const maxFrames = 32

// outcome turns what wazero returned into one of this package's errors.
func (in *Instance) outcome(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if in.ended {
		return &KilledError{Cause: causeOf(ctx)}
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() == 0 {
			return &ExitError{}
		}
		return in.blameMemory(&ExitError{Code: exit.ExitCode()})
	}
	trap := parseTrap(err.Error(), in.program.info.Name)
	in.program.unshift(trap)
	in.program.skipHost(trap)
	if errors.Is(err, errCPUTime) {
		return &CPUTimeError{Limit: in.meter.limit, Function: trap.Function}
	}
	return in.blameMemory(trap)
}

// failureOf names how a call failed, for counting.
func failureOf(err error) string {
	var memory *MemoryError
	var exit *ExitError
	var killed *KilledError
	var cpu *CPUTimeError
	switch {
	case errors.As(err, &memory):
		return "memory"
	case errors.As(err, &cpu):
		return "cpu_time"
	case errors.As(err, &killed):
		return "kill"
	case errors.As(err, &exit):
		return "exit"
	}
	return "trap"
}

// blameMemory wraps what a guest died of when its last growth was refused: that is how running out of memory looks from
// outside, because each language ends in a way of its own.
func (in *Instance) blameMemory(err error) error {
	if in.memory == nil || in.memory.denied == 0 {
		return err
	}
	return &MemoryError{Limit: in.memory.limit, Need: in.memory.denied, Err: err}
}

// nameless begins the name of a function that has only a number.
const nameless = "function "

// signature matches the types that wazero appends to a function's name, which may have parentheses of its own.
var signature = regexp.MustCompile(`\([a-z0-9,]*\)(?: .*)?$`)

// noise are functions at the top of a stack that say how a program breaks off, not where.
var noise = map[string]bool{
	"abort": true, "__assert_fail": true, "__assert": true, "exit": true, "_Exit": true,
	"rust_panic": true, "__rust_start_panic": true, "__rust_abort": true, "std::process::abort": true,
	"~lib/builtins/abort": true,
}

func isNoise(function string) bool {
	return noise[function] || strings.HasPrefix(function, "runtime.") // Go's own
}

// parseTrap reads wazero's text of an error, which is the only form in which it tells the stack:
//
//	wasm error: integer divide by zero
//	wasm stack trace:
//		module.divide(i32,i32) i32
//		module._start()
func parseTrap(text, moduleName string) *TrapError {
	head, trace, _ := strings.Cut(text, "\nwasm stack trace:\n")
	reason := head
	if _, after, ok := strings.Cut(head, "wasm error: "); ok {
		reason = after
	}
	reason, _, _ = strings.Cut(reason, "\n")
	reason = strings.TrimSuffix(reason, " (recovered by wazero)")
	trap := &TrapError{Reason: reason}
	for line := range strings.Lines(trace) {
		frame, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "\t")
		if !ok || strings.HasPrefix(frame, "\t") { // the latter are places in sources
			continue
		}
		if len(trap.Stack) == maxFrames {
			break
		}
		trap.Stack = append(trap.Stack, frameName(frame, moduleName))
	}
	for _, f := range trap.Stack {
		if !isNoise(f) {
			trap.Function = f
			break
		}
	}
	if trap.Function == "" && len(trap.Stack) > 0 {
		trap.Function = trap.Stack[0]
	}
	return trap
}

// skipHost names the guest's function where a host function ended the guest.
func (p *program) skipHost(trap *TrapError) {
	isHost := func(f string) bool {
		for _, im := range p.info.Imports {
			if f == im.Module+"."+im.Name {
				return true
			}
		}
		return false
	}
	if !isHost(trap.Function) {
		return
	}
	for _, f := range trap.Stack {
		if !isHost(f) && !isNoise(f) {
			trap.Function = f
			return
		}
	}
}

func frameName(frame, moduleName string) string {
	name := signature.ReplaceAllString(frame, "")
	name = strings.TrimPrefix(name, moduleName+".")
	if index, ok := strings.CutPrefix(name, "$"); ok {
		return nameless + index
	}
	return name
}
