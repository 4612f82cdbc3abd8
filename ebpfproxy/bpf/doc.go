// Package bpf is the room of the C programs behind ebpfproxy and of their committed objects. It is empty until the
// first of them is written; users will need no clang, since generated objects are committed.
package bpf
