// Package module reads WebAssembly binaries and says whether Petrel can run them.
//
// A binary comes from a user, so nothing in it is believed: every count and every length is held against the bytes that
// are left and against a named limit before anything is allocated for it, and no input makes the reader panic. It reads
// the structure (sections, types, imports, exports, counts, names); instructions are validated by the engine when it
// compiles.
//
// Check adds Petrel's rules: each import must be one that the engine serves with the very type it serves, and the
// exports must make the module a command or an HTTP guest. What is refused is told as *Error: a code for programs,
// and for people the cause and the way to mend it.
//
// The tables of what is served (served.go) live here, so that a module can be judged where no engine runs; a test in
// wasmrt/engine holds them against the engine.
//
// It may import the standard library only.
package module
