// Package store keeps API objects in etcd and serves reads from a watch cache.
//
// It is embedded by default (an etcd server in this process that opens no socket at all) or talks to an external etcd.
// Every write is one transaction on one key, guarded by the revision that was read; an object's resourceVersion is the
// etcd revision of its key. One etcd watch over the whole registry fills a cache of every resource; lists, gets and
// watches are answered from it, and a watcher is no more than a place in a log that all watchers of a resource share.
//
// Invariants:
//   - The cache moves in whole etcd revisions: what a reader sees at a revision is all of that revision, across
//     resources.
//   - A watcher sees each change after its start once, in order, or is told ResourceExpired. It is never left with a
//     gap, also not when etcd compacted or broke the watch that feeds the cache.
//   - An Entry never changes. What it hands out is shared and read-only.
//   - A write that was acknowledged is on disk.
//   - Nothing here blocks on a slow reader.
//
// It may import k8s.io/apimachinery and etcd, and is the only package that imports etcd.
package store
