// Package cgroup bounds what a runner takes of the host: memory, its share of the processors, and threads. A runner has
// one group in each hierarchy that offers one of these controllers, cgroup v1's (one hierarchy a controller) and v2's
// (one for all) alike.
//
// The groups lie in a holder, a group of the supervisor's root: below the supervisor's own group, or below a parent that
// was named. Below the supervisor's own, whatever bounds the supervisor bounds its runners too.
//
// Invariants: only runners of this root are ever in a group of the holder, so whatever is found there without a runner
// that is known may be killed and removed; a controller that cannot be used is named with its reason, and does not keep
// the others from being used; group names are the caller's and are checked, for they become paths.
//
// It imports cgrouplock, by which a holder is known to be somebody's.
package cgroup
