// Package procmem makes a long-running process of this program smaller once it has started.
//
// Starting runs the initialisers of everything that is linked in, control plane and worker alike, and so touches most of
// the program's file; at rest a small part of that is used. The pages stay in the kernel's cache and come back one by one
// where they are needed after all: only the process stops holding them.
//
// It may import nothing of Petrel's, and everything may import it.
package procmem
