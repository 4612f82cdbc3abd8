package registry

import "time"

// Limits of the endpoint.
const (
	// DefaultMaxBlob bounds one blob: the deploy API's 64 MiB cap on a module, and room for what clients attach to
	// it (signatures, SBOMs, debug symbols).
	DefaultMaxBlob = 256 << 20
	// DefaultMaxManifest bounds one manifest. Ours have 500 bytes; OCI asks registries to take 4 MiB.
	DefaultMaxManifest = 4 << 20
	// maxNameLength bounds a repository's name: what clients take together with a host's name.
	maxNameLength = 255
	// maxUploads bounds the unfinished uploads of one repository.
	maxUploads = 100
	// gcInterval and gcGrace: a blob that no manifest names is removed once it is an hour old, so that a client has
	// time between its blobs and its manifest.
	gcInterval = 15 * time.Minute
	gcGrace    = time.Hour
	// putAttempts is how often PutModule starts anew when a collection took a blob between check and use.
	putAttempts = 3
)
