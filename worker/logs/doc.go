// Package logs reads container logs in the CRI's format: whole, from the last lines, since a time, or followed while the
// container runs.
//
// Invariants: memory is bounded whatever a log holds; records in parts come out as the one line they are; a line that
// is no record comes out as it stands rather than not at all; following ends with the container or its context, and
// goes on over a rotated file.
//
// It imports nothing of Petrel.
package logs
