// Package table prints the benchmarks' rows: one line each for a terminal, and the page docs/benchmarks.md.
//
// It may import the standard library only.
package table
