// Package node is this machine as a Node of the cluster: it registers it, keeps its status current and its Lease
// renewed.
//
// Invariants: an API that is away is asked again until it answers, and nothing else on the node waits for that; labels
// and annotations that others put on the Node stay; a Node that was deleted is registered anew.
//
// It may import client-go, and worker/stats for what the machine has.
package node
