// Package jointoken reads and writes the tokens by which nodes join: the bootstrap tokens of Kubernetes, with the hash
// of the cluster's certificate authority in front, so that a node knows the cluster before it tells it the secret.
//
//	petrel1::<64 hex digits: SHA-256 of the authority's public key>::<6 characters: id>.<16 characters: secret>
//
// Invariants: what Parse accepts, String writes the same; no error has a part of a secret in it.
//
// It imports the standard library only.
package jointoken
