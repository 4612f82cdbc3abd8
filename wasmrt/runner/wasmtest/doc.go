// Package wasmtest makes WebAssembly modules of a few hundred bytes for tests: commands that print, exit, sleep, trap,
// loop or eat memory, and HTTP reactors that answer. They compile in under a millisecond, which programs built from Go
// do not.
//
// It is imported by tests alone, and imports the standard library alone.
package wasmtest
