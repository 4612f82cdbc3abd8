// Package state keeps what the supervisor must know again after it was killed: sandboxes, containers and runners, a
// JSON file each below the root directory.
//
//	lock                                  held by the supervisor that serves this root
//	runtime.json                          what UpdateRuntimeConfig set
//	sandboxes/<id>/sandbox.json           a sandbox
//	sandboxes/<id>/container-<id>.json    each of its containers
//	runners/<key>/runner.json             a runner's process and socket
//
// Invariants: a file is replaced by rename, so a reader sees the old record or the new, never a half. It is not synced
// to the disk: a record must survive the end of the supervisor, which the page cache does; when the machine itself goes
// down, every runner goes with it, and what the records told is no longer so. A record that such an end tore is dropped
// on loading, and said to be. Ids come from file names only after they were checked.
//
// It imports the runner's protocol for its statuses, and knows nothing of the CRI.
package state
