// Package catalog holds the cluster's Services with their EndpointSlices, once for everything on the node that is made of
// them: the service table and the names of the DNS.
//
// Invariants: readers are told nothing before both kinds have been listed whole, because a part of the truth would take
// away what is well; a reader that joins later is told everything first; readers are called one at a time, with the
// catalog's lock held, so that they hear of changes in the API's order, and they must not call back.
//
// It may import client-go and worker/service/feed.
package catalog
