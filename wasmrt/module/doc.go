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
// Rewrite makes the module that is compiled in a checked one's place. What the guest computes stays the same; held to
// that by the specification's own tests and by generated programs (wasmrt/engine/spectest). Its steps:
//
//   - survey: one walk over all code finds who calls whom, and what stands in the way of a snapshot. Every index is held
//     against what the module has, because rewriting adds to each index space.
//   - plan: functions in the order of the call graph, callees first, so that a function that costs little can leave
//     paying to its callers. Each way through a function is paid for before it ends: at loop headers what a round costs,
//     at the function's entry the rest, and on the way wherever much is owed. Bulk operations pay by size before they
//     begin. Only functions that can be part of a recursion count the depth of calls.
//   - write: fuel and depth are one i64 global, tested by its sign bits; a function with a loop that calls nothing keeps
//     it in a local variable. When either is used up the guest calls petrel_meter.yield, outside its loops: the host
//     gives it more, or ends it. Beside that the module is normalised, so that an instance can be copied: mutable globals
//     get exports, active data and the start function are taken out, for whoever instantiates. What cannot be copied is
//     told by a reason and left as it was.
//
// Outline leaves the functions' bodies out, for those who have the machine code already.
//
// The tables of what is served (served.go) live here, so that a module can be judged where no engine runs; a test in
// wasmrt/engine holds them against the engine.
//
// It may import the standard library only.
package module
