// Package storetest is the conformance suite of store.Interface: what the rooms above rely on, told as tests that any
// implementation must pass.
//
// It imports the store's interface and apimachinery, and is imported by tests only.
package storetest
