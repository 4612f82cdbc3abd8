// Package bpf holds the C programs behind ebpfproxy and their committed objects, so that nobody needs clang to build or
// to run Petrel.
//
// Invariants:
//   - Everything *_bpfel.go and *_bpfel.o is made by generate.sh, byte for byte the same each time; nothing else is
//     written by hand here but C, this file and the script.
//   - maps.h declares the tables that programs of several owners share; a program's own tables stand in its own header.
//   - Programs build against the kernel's user-space headers alone. Iterators name the few kernel fields that they read.
//
// It imports github.com/cilium/ebpf and nothing of Petrel.
package bpf

//go:generate ./generate.sh
