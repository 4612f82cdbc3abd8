// Package runtimes makes one runtime of two: petrel-wasmrt for Wasm modules and containerd for containers, each over its
// own CRI socket. A node without containerd has the first alone.
//
// Invariants:
//   - An ID says whose it is: "petrel-wasmrt://…" or "containerd://…", as the status of pods shows them.
//   - A pod of both kinds is one sandbox to whoever asks: containerd's. The one that petrel-wasmrt has for it lives in the
//     same network namespace, comes after it and goes before it. Where either is gone, the pod's sandbox is not ready.
//   - A runtime that is away fails what is asked of it, and of it alone. A listing is whole or an error.
//   - Nothing is remembered here: labels of the sandboxes say which belong together.
//
// It may import worker/cri, and nothing else of Petrel.
package runtimes
