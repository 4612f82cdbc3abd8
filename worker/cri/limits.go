package cri

import "time"

// Deadlines of calls. They bound how long a hung runtime can hold a pod's goroutine; none is a figure of speed.
const (
	// queryTimeout bounds calls that only read. A list of ten thousand containers on a busy machine takes a second.
	queryTimeout = 30 * time.Second
	// changeTimeout bounds calls that make or remove something. Creating a container compiles its module.
	changeTimeout = 2 * time.Minute
	// pullTimeout bounds fetching an image over a slow line.
	pullTimeout = 10 * time.Minute
	// stopSlack is what stopping may take beyond the grace period that the container was given.
	stopSlack = 30 * time.Second
	// execSlack is what a command in a container may take beyond its own timeout: the runtime has to kill it then.
	execSlack = 10 * time.Second
)

const (
	// MaxMessageSize bounds one message either way. A list of 10,000 pods with annotations is about 10 MiB.
	MaxMessageSize = 64 << 20

	// Reconnecting starts at once and slows to reconnectMax, so that a restarted runtime is found within a second.
	reconnectBase = 50 * time.Millisecond
	reconnectMax  = time.Second

	// pollReady is how often WaitReady asks.
	pollReady = 100 * time.Millisecond
)
