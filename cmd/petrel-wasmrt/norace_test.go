//go:build !race

package main

// raceFlags build the program under test as the tests themselves were.
var raceFlags, raceEnv []string
