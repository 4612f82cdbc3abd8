package engine

import (
	"math"
	"runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/sys"
)

// clockTick is the resolution of the guest's clocks: fine enough for programs, and coarser than what measuring the
// host's caches takes.
const clockTick = time.Microsecond

// forever is the sleep that wazero asks for when a guest polls descriptors without a clock. They are all reported as
// ready, so it must not be slept.
const forever = math.MaxInt64

// config builds wazero's configuration for one instance. Everything that wazero would fake is set: its random source is
// the same for all, and its clocks stand still.
func (in *Instance) config(spec Spec) wazero.ModuleConfig {
	born := time.Now()
	c := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithArgs(spec.Args...).
		WithRandSource(&source{in: in}).
		WithWalltime(walltime, sys.ClockResolution(clockTick)).
		WithNanotime(func() int64 { return monotonic(born) }, sys.ClockResolution(clockTick)).
		WithNanosleep(in.sleep).
		WithOsyield(runtime.Gosched)
	for _, e := range spec.Env {
		key, value, _ := strings.Cut(e, "=")
		c = c.WithEnv(key, value)
	}
	if spec.Stdin != nil {
		c = c.WithStdin(&stdin{in: in, r: spec.Stdin})
	}
	in.stdout, in.stderr = &stdout{in: in, w: spec.Stdout}, &stdout{in: in, w: spec.Stderr}
	c = c.WithStdout(in.stdout).WithStderr(in.stderr)
	if preopens := in.files.Preopens(); len(preopens) > 0 {
		fsConfig := wazero.NewFSConfig()
		for _, p := range preopens {
			fsConfig = fsConfig.(sysfs.FSConfig).WithSysFSMount(p.FS, p.GuestPath)
		}
		c = c.WithFSConfig(fsConfig)
	}
	return c
}

func walltime() (sec int64, nsec int32) {
	now := time.Now().Truncate(clockTick)
	return now.Unix(), int32(now.Nanosecond())
}

// monotonic begins at one tick: zero means "never" to many programs.
func monotonic(born time.Time) int64 {
	return int64((time.Since(born) + clockTick).Truncate(clockTick))
}

// sleep ends with the guest when that is killed.
func (in *Instance) sleep(ns int64) {
	if ns <= 0 || ns == forever {
		return
	}
	timer := time.NewTimer(time.Duration(ns))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-in.ctx.Done():
		interrupt()
	}
}

// alive ends the guest when it is killed. Host functions that a guest can keep busy call it again and again.
func (in *Instance) alive() {
	if in.ctx.Err() != nil {
		interrupt()
	}
}

// interrupt ends the guest from within a host function, as proc_exit does. Without it the guest would go on to its next
// loop or call, or even return as if nothing had happened.
func interrupt() {
	panic(sys.NewExitError(sys.ExitCodeContextCanceled))
}
