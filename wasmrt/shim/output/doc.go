// Package output takes what a guest prints from its runner to where containerd reads it.
//
// A runner writes a log in the CRI's format. Here the log is a pipe: each record is taken apart and its bytes go to the
// container's stdout or stderr, which are pipes that containerd reads. Nothing of it touches a disk.
//
// Invariants: containerd may come and go: its pipes are held open for both directions, so that nobody gets an error
// meanwhile; a reader that falls behind slows the guest down, as it does a process; what a runner wrote before it told a
// container's exit is delivered before the exit is told on, unless nobody reads; a log that was left without a
// reader keeps whoever opens it waiting, so those that an earlier daemon left are drained until their containers are gone.
//
// It imports golang.org/x/sys.
package output
