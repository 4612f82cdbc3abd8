// Package spectest runs the core WebAssembly specification's own tests, untouched and through module.Rewrite, and wants
// the same results of both: values bit by bit, traps, exhaustion, and which modules are refused.
//
// It has tests only. The suite is the one that comes with wazero's source, as the official scripts were converted to
// binaries. It may import what wasmrt/engine may.
package spectest
