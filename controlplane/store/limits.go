package store

import "time"

const (
	// maxObjectBytes bounds one stored value. It is etcd's own default bound of a request, less room for the key and
	// the guard; the bound is checked before etcd is asked so that the error can name it.
	maxObjectBytes = maxRequestBytes - 4<<10
	// maxRequestBytes is the embedded etcd's bound of a request: 1.5 MiB, etcd's default.
	maxRequestBytes = 1536 << 10
	// maxSegmentBytes bounds a namespace or a name inside a key. Kubernetes' names are at most 253 bytes where they
	// are validated at all; this keeps the others from making absurd keys and tokens.
	maxSegmentBytes = 1024
	// maxTokenBytes bounds a continue token: two segments and a revision, in base64, with room to spare.
	maxTokenBytes = 4 << 10

	// maxUpdateTries is how often an update is computed again after it lost a race for its key. Losing means that
	// another writer won, so the system as a whole moves; the bound keeps one caller from looping under a storm.
	maxUpdateTries = 32

	// DefaultLogEvents bounds each resource's event log, and so how far behind a watcher may fall.
	DefaultLogEvents = 10_000
	// DefaultLogBytes bounds what one resource's event log keeps in memory.
	DefaultLogBytes = 64 << 20
	// eventOverhead is charged for each event besides its bytes: the entry, its maps and the log's own slot.
	eventOverhead = 1 << 10
	// formsWeight counts an entry's bytes for the log: as stored, and the JSON form, about twice that, which a reader
	// may add.
	formsWeight = 3
	// maxNextEvents bounds what one Next answers, and with it a watcher's scratch space.
	maxNextEvents = 256

	// maxReplayRevisions is how much of etcd's history is read into the event logs at start, so that clients can
	// resume their watches across a restart of the control plane.
	maxReplayRevisions = 2_000
	// etcdPageKeys is how many keys one range request to etcd asks for.
	etcdPageKeys = 1_000

	// waitRevision is how long a read waits for the cache to reach a revision that it has not seen; as in Kubernetes.
	waitRevision = 3 * time.Second
	// progressInterval spaces the requests for progress that make an otherwise quiet etcd watch tell its revision.
	progressInterval = 20 * time.Millisecond
	// askInterval spaces such requests by one read that waits; etcd does not answer each.
	askInterval = 100 * time.Millisecond
	// followBackoffMin and followBackoffMax space the attempts to watch etcd again after a failure.
	followBackoffMin = 20 * time.Millisecond
	followBackoffMax = 5 * time.Second

	// DefaultCompactInterval is how much history is kept; as in Kubernetes.
	DefaultCompactInterval = 5 * time.Minute
	// DefaultQuotaBytes bounds the embedded etcd's database; beyond it writes fail until objects are deleted.
	DefaultQuotaBytes = 2 << 30
	// snapshotCount and snapshotCatchUpEntries are small because there is no follower that would need the raft log,
	// and each entry that etcd keeps is memory.
	snapshotCount          = 1_000
	snapshotCatchUpEntries = 500
	// tickMillis and electionMillis are short because a cluster of one elects itself: it only has to wait for it.
	tickMillis     = 25
	electionMillis = 125
	// startTimeout bounds how long etcd may take to answer at start.
	startTimeout = 60 * time.Second
	// dialTimeout bounds the first connection to an external etcd.
	dialTimeout = 10 * time.Second
	// keepAliveTime and keepAliveTimeout bound how long a vanished external etcd goes unnoticed.
	keepAliveTime    = 30 * time.Second
	keepAliveTimeout = 10 * time.Second
	// requestTimeout bounds one request to etcd that no caller's deadline bounds.
	requestTimeout = 30 * time.Second
)
