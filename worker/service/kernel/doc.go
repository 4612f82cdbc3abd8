// Package kernel puts the table of Services into effect through ebpfproxy: it turns a Service into what the kernel looks
// up, and programs each change as it comes.
//
// Invariants:
//   - Nothing is programmed before the table is whole; what an earlier process left in the kernel serves until then, and
//     is compared with the whole table then.
//   - A change that failed is tried again, and then the whole table is compared: a part of it may have been done.
//   - An address that two Services claim belongs to the one that had it first, until it gives it up.
//   - Endpoints that are well but take nothing new stay known to the kernel: it ends connections to what it no longer
//     knows.
//
// It may import ebpfproxy and worker/service.
package kernel
