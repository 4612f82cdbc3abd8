// Package confine takes from a runner's process what no guest's work needs: system calls outside an allow-list, new
// privileges, and paths outside the directories that it was let into.
//
// It is the second fence. The first is WebAssembly itself: a guest can only reach what host functions hand it. What is
// here holds when that fence has a hole.
//
// Invariants: Apply is called once, after the process has opened what it starts with and before it runs anything of a
// guest; it binds all threads, and cannot be taken back; what the host lacks is left out and named in the report, never
// passed over in silence.
//
// It imports the kernel's interfaces and nothing of the project.
package confine
