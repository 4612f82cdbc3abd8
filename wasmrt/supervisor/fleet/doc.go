// Package fleet keeps the runner processes: one for each namespace that has sandboxes, started when it is first needed,
// adopted after a restart, ended a while after its last sandbox.
//
// Invariants: a namespace has at most one runner, and beside it at most one that it has replaced and that finishes what it
// serves (renew.go); what is on disk tells them apart at any moment; a runner lives in a session of its own and does not
// end with the supervisor; every process is signalled through a pidfd, so never a stranger that got its number; the
// death of a runner is told once, after the last of its events; a runner that no longer answers is killed, because its
// pods could not be stopped otherwise, and takes down its own namespace alone.
//
// Sockets are at <runner's directory>/s. Where that path is longer than a unix address can hold, it is reached through
// /proc/self/fd, so the length of the root does not matter.
//
// It imports the control protocol and the records of package state, and knows nothing of the CRI.
package fleet
