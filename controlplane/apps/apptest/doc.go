// Package apptest is a cluster in memory, for tests of what deploys to one: an object store with the semantics that
// controllers rely on (conflicts, generations, status apart from spec, cascading deletion), shared informers over it,
// and a Node that plays what comes after a Deployment: pods that are bound, run, get ready, or fail as they are told.
//
// It holds no test itself and is imported by tests only. It may import controlplane/api and client-go.
package apptest
