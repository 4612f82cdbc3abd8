// Package state keeps what the supervisor must know again after it was killed: sandboxes, containers and runners, below
// the root directory.
//
//	lock                      held by the supervisor that serves this root
//	runtime.json              what UpdateRuntimeConfig set
//	journal                   sandboxes and their containers
//	runners/<key>/runner.json a runner's process and socket
//
// The journal is a line for each change: a first record, what has become of it, that it is gone. A line of a change has
// every field but the configuration, so that the first line and the last tell all of a record. A file for each record
// would cost more than the pod does: a file system looks long for a free inode where many were freed a moment ago. When
// most of the journal counts for nothing any more, what does is copied to a new one.
//
// Invariants: a change is there wholly or not at all: a line says how long it is, and what replaces a file is renamed. It
// is not synced to the disk: a record must survive the end of the supervisor, which the page cache does; when the machine
// itself goes down, every runner goes with it, and what the records told is no longer so. What such an end tore is dropped
// on loading, and said to be.
//
// It imports the runner's protocol for its statuses, and knows nothing of the CRI.
package state
