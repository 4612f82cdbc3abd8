package machine

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f on a thread that ends with it, so that f may enter namespaces and groups: nothing else ever runs
// there.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- lockedRun(f) }()
	return <-done
}

// lockedRun locks the goroutine to its thread and never unlocks it, which ends the thread with the goroutine. The one
// exception is the process's first thread, which Go cannot end: while that is kept busy, another is found.
func lockedRun(f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		return f()
	}
	defer runtime.UnlockOSThread()
	return onOwnThread(f)
}
