// Package csi has drivers of the Container Storage Interface mount volumes for pods. Drivers register themselves as they do
// with a kubelet: a socket in a directory, by which they say their name and where they serve.
//
// Invariants:
//   - What was published for a pod is written down beside it before the driver is asked, so that it is taken back also by
//     a worker that knows nothing else of it.
//   - A volume is staged once a node and unstaged when the last pod here has let go of it; calls about one volume never
//     overlap.
//   - A driver that is away keeps its volumes where they are: nothing is unmounted behind its back.
//
// Not served, and said so: block devices, growing, and limits of how many volumes a node takes.
//
// It may import client-go, gRPC, the interface's own types and kubelet's registration protocol.
package csi
