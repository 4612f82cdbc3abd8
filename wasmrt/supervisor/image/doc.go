// Package image pulls WebAssembly modules from OCI registries and keeps them, addressed by content, on disk.
//
//	blobs/sha256/<hex>    manifests, configs and modules; a module is the bare .wasm, whatever it was packed in
//	images/<hex>.json     a record for each image: its names, its blobs, what its module is
//	incoming/<hex>        begins of blobs whose download was cut off: the next attempt goes on there
//
// Where a registry's images are asked for says a directory of hosts.toml files, as containerd reads them.
//
// Three layouts are accepted, in this order: an artifact with one application/wasm layer (the CNCF's layout); an artifact
// with one layer of an older Wasm media type; an ordinary image whose entrypoint is a .wasm file in one of its layers.
// What is something else is refused with the media types that were found. Before an image is recorded, its module was
// inspected and compiled by a process that may die of it (Compiler); nothing of a module is read in this one.
//
// Invariants: blobs are written to a temporary file, synced and renamed, so what has a digest for its name has the
// content; a module is verified against its digest when it is first used after a start, and an image whose blob has
// rotted is forgotten, so that it is pulled again; nothing from a registry is believed, and every size is bounded; no
// layer is ever unpacked and no link in one followed; from TLS no redirect leads to plain HTTP;
// concurrent pulls of one image are one.
//
// It imports go-containerregistry, a TOML reader and zstd, and knows nothing of the CRI.
package image
