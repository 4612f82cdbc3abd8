// Package controller holds the controllers that Petrel writes itself, because they stand on the hot path of what
// Petrel exists for: Deployment, ReplicaSet, Job, EndpointSlice, namespace deletion, garbage collection by owner
// references, node lifecycle, nodes' pod CIDRs, pod garbage collection, and App.
//
// Each is a level-triggered reconciler: a key comes from a queue, the state is read from the informers' caches, one
// idempotent step is taken through the Client, and the key comes again when something changed or the step failed.
// Nothing depends on having seen an event: a restart at any point resumes from what is stored.
//
// Invariants:
//   - Objects in a cache are shared and never modified; a controller copies before it writes.
//   - A write is guarded by the resourceVersion read, or by a UID precondition. A conflict is no fault: the key is
//     tried again when the cache has caught up.
//   - A cache may lag behind the controller's own writes. Where acting twice would do harm (pods created or deleted),
//     the ledger holds those writes until the cache shows them.
//   - Nothing irreversible follows from one look at a cache: garbage collection and the removal of a lost node's pods
//     read afresh first, a namespace ends only after its emptiness has stood for a while.
//   - Plans (which ReplicaSet gets how many replicas, which pods go first, which endpoint lands in which slice) are
//     pure functions of what was read and of the time passed in.
//
// The package may import controlplane/api, k8s.io/api, k8s.io/apimachinery, k8s.io/client-go,
// k8s.io/component-helpers, k8s.io/utils and golang.org/x.
package controller
