// Package feedtest makes client-go's fake API behave as a real one towards feeds, which change what they are handed.
//
// It may import client-go.
package feedtest
