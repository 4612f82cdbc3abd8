// Package lab runs clusters of several nodes on one machine: each node is a machine of package machine, with processes of
// Petrel in it, and the kubectl of whoever started it reaches the API by a relay on loopback. It is there for tests, and
// for people who want to see what happens when a node dies.
//
// Lab is what there is of nodes, links and processes; Cluster is a Petrel cluster on one.
//
// Invariants: nothing outside the lab's directory, its control groups and its own process is changed, and what stands in
// lab.json is enough to remove all of it, also after the lab was killed: its nodes end with it by themselves. A process
// of a node is ended by what the kernel says is in the node's group, never by its name. Nothing that a node sends leaves
// the lab; the relays listen on loopback alone.
//
// It may import client-go, as any client of the API, and of Petrel's rooms cgrouplock alone.
package lab
