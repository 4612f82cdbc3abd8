// Command gendescriptions collects the comments on the types and fields of controlplane/api, so that `kubectl explain`
// can show them, into zz_generated.descriptions.go. Run it by `go generate` from the folder above.
//
// It may import the standard library only.
package main
