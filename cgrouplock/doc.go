// Package cgrouplock tells control groups that somebody has from those that a process left which was killed. Nothing but
// its name says whose a group is, and an empty one may be anybody's who is about to use it: so whoever makes groups for a
// long time holds them, by a lock that the kernel drops with the process, however that ends.
//
// Invariants: a group that is held is never removed, nor one in which a process is, nor one that never was held; nothing is
// killed.
//
// It imports nothing of the project.
package cgrouplock
