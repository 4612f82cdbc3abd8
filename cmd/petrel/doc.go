// Command petrel is Petrel in one binary: `petrel up` runs a cluster of one node, `petrel controlplane` and
// `petrel worker` run its halves, and the rest are commands that talk to one over HTTP (package client).
//
// This package wires: it makes each room from flags, hands one to the other, and runs them in one group. It decides
// nothing that a room could decide.
package main
