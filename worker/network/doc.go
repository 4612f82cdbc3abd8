// Package network owns pod addresses. In loopback mode an address is only a number: 127.0.0.0/8 is all local, so the
// runtime can listen on each without any set-up, and all there is to do is to give every pod one of its own.
//
// Invariants: an address has one owner at most; the same owner asking again gets the same address; a freed address
// rests until every address that was never used has been, because clients may still hold connections to it.
//
// It will be the only importer of netlink, when pods get interfaces and routes.
package network
