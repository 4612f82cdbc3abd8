// Package stats is the arithmetic of the benchmarks: medians, quantiles and ratios of paired rounds.
//
// Invariant: what is compared is measured in turns in the same run, and each round gives one ratio. The machine's load
// changes from minute to minute, so a ratio of two things measured one after the other is worth more than either, and
// the median of several such ratios more than one.
//
// It may import the standard library only.
package stats
