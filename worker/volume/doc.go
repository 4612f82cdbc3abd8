// Package volume makes what a pod's containers mount: config maps, secrets, downward API, projections of these, empty
// directories on disk and in memory, paths of the host, and sub paths of all of them.
//
// Invariants:
//   - Making a volume that is there is no harm, and brings it up to date.
//   - Files that come from the API appear and change all at once: they lie in a directory of their own, a symbolic link
//     ..data leads there, and renaming another link over it is the change. A container that mounts a sub path of them
//     keeps what it had when it began.
//   - No name leaves its volume: neither a file's of an API object nor a sub path, also not by a symbolic link that a
//     container makes in the midst. Where the worker may mount, a sub path is bound by its descriptor, so that nothing
//     can be exchanged below it.
//   - What may be secret is in memory where the worker may mount some; nothing of it reaches the disk beneath.
//   - Nothing is deleted through a mount: what is mounted below a pod's directory is unmounted first.
//
// It may import Kubernetes' API types and worker/env for references and fields.
package volume
