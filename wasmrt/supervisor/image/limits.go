package image

import "time"

// Limits of what a registry may send.
const (
	// MaxManifest is what the distribution specification asks registries to accept at least; more is no manifest of ours.
	MaxManifest = 4 << 20
	// MaxConfig bounds an image's configuration, of which entrypoint and environment are used.
	MaxConfig = 4 << 20
	// MaxLayer bounds a layer as it is sent: the largest module that wasmrt/module accepts.
	MaxLayer = 64 << 20
	// MaxImage bounds all blobs of an image together, as they are sent.
	MaxImage = 512 << 20
	// MaxUnpacked bounds the tar layers of an image when decompressed. Ten-fold compression is rare for binaries; a bomb
	// has thousand-fold.
	MaxUnpacked = 512 << 20
	// MaxEntries bounds the files in an image's tar layers.
	MaxEntries = 100_000
	// MaxLayers bounds the layers of an image; overlay file systems stop at 128, too.
	MaxLayers = 128
	// MaxModule bounds an unpacked module.
	MaxModule = 64 << 20
	// MaxRecord bounds the file of an image's record.
	MaxRecord = 8 << 20
	// PullTimeout bounds a whole pull with its compilation. One that is cut off by it goes on where it was when it is
	// asked for again. It is below what the worker waits for an answer.
	PullTimeout = 9 * time.Minute
)
