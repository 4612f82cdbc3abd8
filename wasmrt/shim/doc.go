// Package shim lets containerd run Wasm pods: it is the program containerd-shim-petrel-v1, an argv0 mode of petrel-wasmrt.
//
//	containerd-shim-petrel-v1 -namespace k8s.io -address /run/containerd/containerd.sock -id ID start
//	containerd-shim-petrel-v1 -namespace k8s.io -address /run/containerd/containerd.sock -id ID delete
//
// containerd calls start for each container, and speaks to the socket whose address is printed. Other shims are a process a pod;
// here the first call starts a daemon, and all others answer its address: one daemon for each containerd and namespace, whatever
// the number of pods. The daemon serves containerd's task service (tasks) over the Wasm runtime (backend), which is one
// process for the host. Guests run in the runtime's runners, as everywhere.
//
// Invariants: a daemon is found by what containerd it serves and which program it is, so that a new program serves new pods
// and the old one ends with its last; a daemon that died takes its pods with it, as containerd takes it, and delete removes
// what they had in the runtime; a daemon or runtime that nobody needs ends by itself.
//
// It imports its own folders, containerd's API and ttrpc, and the CRI's types.
package shim
