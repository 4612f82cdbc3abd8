// Package engine compiles modules and runs them: it is the only room that imports the wazero runtime.
//
// # The way of a module
//
// Load checks a module, rewrites it (package module: fuel and call depth are counted, state is made reachable from
// outside) and compiles it, once for each digest: concurrent loads of one digest wait for one compilation, and its
// machine code is kept on disk. A Template is a counted reference to that code. Run runs a command to its exit.
// Instantiate makes an instance of a reactor from nothing. A Pool hands out instances, one a request:
//
//	data image ──map──▶ instance ──start, _initialize, warm-up──▶ snapshot ──map──▶ clone ⇄ request
//	                                                                                ▲        │
//	                                                                                └─reset──┘
//
// The data image is the module's active data, the snapshot the whole memory and all mutable globals of one instance that
// has started and warmed up. Both are sealed files without a name, which instances map privately: a page costs something
// when it is written to. A reset asks the kernel (PAGEMAP_SCAN) which pages are not the file's any more and writes the
// snapshot's content back over them, sets the globals, and lets package wasi close what was opened. It need not ask again
// after calls without a page fault, which the kernel counts: pages become private by nothing else. Where the kernel
// cannot be asked, or much was written, the private pages are thrown away instead (MADV_DONTNEED). Memory that has grown
// is cleared and made the snapshot's size again. What cannot be put back is thrown away, counted by its cause: a guest
// that trapped, exited or was killed, one whose descriptors cannot be restored, one that has grown to its module's
// maximum. What cannot be a snapshot (table writes, passive data that is dropped, files left open by the start) is
// started anew for each request, and PoolStats tells why.
//
// Snapshots are found by what is baked into them: arguments, environment, mounts, limits, listeners. Pools of equal ones
// share a snapshot; where mounts are on the host counts only when the guest has looked into them before the snapshot.
// Before each request Go's random generators, which are found in the snapshot by their content, get new seeds, and a
// guest's own petrel_reseed is called.
//
// Idle instances are closed when they were not needed for some seconds, a snapshot when no pool has used it for some
// minutes. A timer runs only while something is idle.
//
// # The way of a call
//
// A guest has fuel for a slice of time. When that is used up it calls the host, which looks at its context, its processor
// time and its call depth, lets a guest of another pool have the processor if one waits, and gives it the next slice.
// What the host does for a guest costs fuel too. So one guest cannot hold up Go's collector, its neighbours, or its own
// deadline for longer than a slice, and no goroutine or timer watches over it.
//
// # Invariants
//
//   - What runs ends when its context does: at the end of the slice, or at once when it waits in Block. A host function
//     that waits for the world does it there.
//   - At most Config.MaxRunning guests execute at a time. Their pools take turns.
//   - After a reset every byte of memory, every global and every descriptor is the snapshot's. Nothing that would have to
//     be remembered while the guest runs is relied on.
//   - An instance's memory belongs to the goroutine that calls it and is unmapped or reset after the call has returned,
//     never under it, so nothing of an instance may be kept past its Put or Close.
//   - A guest sees the arguments, environment, files and streams of its Spec and nothing else of the host.
//   - An instance's memory stays under the Spec's limit: memory.grow fails beyond it, and what dies of that is told as
//     *MemoryError.
//   - A pool that is not used has no instance, no snapshot, no goroutine and no timer.
//
// It may import wazero, wasmrt/egress, wasmrt/module, wasmrt/wasi and golang.org/x/sys.
package engine
