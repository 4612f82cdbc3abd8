//go:build race

package spectest

// oneOf is the share of the suite that is run: the race detector makes wazero compile twenty times slower.
const oneOf = 15
