// Package containerd has a containerd of the worker's own run containers: it finds the program, writes its
// configuration, keeps it serving, and gives it the image that every pod's sandbox is made of, which needs no registry.
//
// Invariants:
//   - Containers outlive containerd, and containerd outlives the worker: one that serves with the configuration that is
//     wanted is taken over, any other is ended first. Stop alone ends it for good.
//   - Nothing of a containerd that the machine has for others is touched: directories, sockets and state are our own.
//   - The sandbox image is there, and known by its digest, whenever Ready has returned and the daemon serves.
//   - What a daemon that was killed left of pods that it has no record of is removed. A record comes before all that it is
//     of and goes after it, but for network namespaces: of those, only what there was before the daemon's start is removed.
//   - Versions 1.6, 1.7 and 2.x are served, each in the configuration format that it documents.
//
// It may import containerd's API (protocol buffers alone) and go-containerregistry's image types, and nothing of Petrel.
// Package containerdtest starts one for tests, package pause holds the program of the sandbox image.
package containerd
