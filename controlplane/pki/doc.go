// Package pki is the cluster's certificate authorities and what they issue.
//
// There are two. The cluster's own signs the API's serving certificates and every client certificate; its hash is in
// the tokens by which nodes join. The nodes' own signs the certificates of the nodes' servers and nothing else, so
// that no node, whatever it calls itself, holds a certificate that a client of the API would take for the API's.
//
// Invariants: private keys are in files of mode 0600 and in no error or log; an authority is made once, by whoever
// comes first, and never replaced; what is issued begins a little in the past, because clocks differ, and never
// outlives its authority.
//
// It imports the standard library only.
package pki
