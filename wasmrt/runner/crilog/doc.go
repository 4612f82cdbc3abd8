// Package crilog writes what a container prints as the CRI's log files: a line each, with time, stream and tag.
//
//	2026-01-02T03:04:05.000000006Z stdout F hello
//
// A line longer than MaxLine, and the end of output that has no newline, carry the tag P (partial): whoever joins
// partial lines to the next gets the guest's bytes back exactly.
//
// Invariants: a record reaches the file in one write, so that readers who follow never see lines of two streams mixed;
// writing never fails towards the guest (a full disk must not change how it runs): what cannot be written is counted.
// A log that nothing was written to holds no file descriptor, for most of a thousand pods are idle.
//
// It imports the standard library alone.
package crilog
