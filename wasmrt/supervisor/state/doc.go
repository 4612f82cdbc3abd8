// Package state keeps what the supervisor must know again after it was killed: sandboxes, containers and runners, a
// JSON file each below the root directory.
//
//	lock                                  held by the supervisor that serves this root
//	runtime.json                          what UpdateRuntimeConfig set
//	sandboxes/<id>/sandbox.json           a sandbox
//	sandboxes/<id>/container-<id>.json    each of its containers
//	runners/<key>/runner.json             a runner's process and socket
//
// What becomes of a sandbox or a container is added to its file, a line a change. A line has every field but the
// configuration, so that the last whole one tells all of it.
//
// Invariants: a change is there wholly or not at all: what is not added as a line is replaced by rename. It is not synced
// to the disk: a record must survive the end of the supervisor, which the page cache does; when the machine itself goes
// down, every runner goes with it, and what the records told is no longer so. A record that such an end tore is dropped
// on loading, and said to be. Ids come from file names only after they were checked.
//
// It imports the runner's protocol for its statuses, and knows nothing of the CRI.
package state
