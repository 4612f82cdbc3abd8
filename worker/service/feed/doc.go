// Package feed follows one kind of object of the API and keeps nothing: each object is handed on as it comes, and what
// has gone is found by comparing keys.
//
// Invariants: handlers are called one at a time, in the API's order; after an interruption everything is handed on
// anew and what vanished meanwhile is handed to Gone; an API that is away is asked again within retryMax.
//
// It may import client-go.
package feed
