// Package engine compiles modules and runs them: it is the only room that imports the wazero runtime.
//
// Load checks a module and compiles it, once for each digest: concurrent loads of one digest wait for one compilation,
// and its machine code is kept on disk, in a directory of its own for each digest and set of options. A Template is a
// counted reference to that code. Run runs a command to its exit; Instantiate makes a fresh instance of a reactor, whose
// exports are called one at a time.
//
// Invariants:
//   - What runs ends when its context does: a loop at its next loop header or call, a sleep or a blocked standard
//     stream at once. So a guest cannot outlive its deadline, and Go's collector never waits for one.
//   - An instance's memory belongs to the goroutine that calls it and is unmapped after the call has returned, never
//     under it, so nothing of an instance may be kept past its Close.
//   - A guest sees the arguments, environment, files and streams of its Spec and nothing else of the host. Randomness is
//     the kernel's; clocks tick in microseconds, the monotonic one from the instance's birth.
//   - An instance's memory stays under the Spec's limit: memory.grow fails beyond it, and what dies of that is told as
//     *MemoryError.
//
// Every request or run has an instance of its own. Snapshots, resets and fuel will live here, behind Instantiate.
//
// It may import wazero, wasmrt/module, wasmrt/wasi and golang.org/x/sys.
package engine
