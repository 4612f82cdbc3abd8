package containerd

import "time"

const (
	// versionTimeout bounds how long a program may take to tell its version: it reads nothing for it.
	versionTimeout = 10 * time.Second
	// dialTimeout bounds the look whether somebody serves on the socket. It is local: an answer is immediate.
	dialTimeout = time.Second
	// readyPoll is how often a starting daemon is asked whether it serves.
	readyPoll = 25 * time.Millisecond
	// imagePeriod is how often the sandbox image is looked for: whoever removes it by hand has pods start again within it.
	imagePeriod = time.Minute
	// callTimeout bounds a call to the daemon; all that is sent is some kilobytes to a local disk.
	callTimeout = 30 * time.Second
	// backoffMin and backoffMax bound the pause before the daemon is started again; it doubles while it dies young.
	backoffMin = 250 * time.Millisecond
	backoffMax = 10 * time.Second
	// grownUp is how long it must have run for its death to count as the first.
	grownUp = 30 * time.Second
	// stopTimeout is what a daemon has to end after SIGTERM before it is killed, which harms no container.
	stopTimeout = 10 * time.Second
	// maxLog is the size beyond which a log is begun anew when the daemon starts; the last one is kept beside it.
	maxLog = 16 << 20
	// socketPathLimit is what fits into a socket's address with its final zero byte, less the ".ttrpc" that the
	// second socket's name has more.
	socketPathLimit = 107 - len(".ttrpc")
	// sweepPeriod is how often it is looked for what the daemon has lost: that happens only when it is killed.
	sweepPeriod = 30 * time.Second
	// sweepSettle is how long something has to be nobody's before it is removed: what just ends is gone by then.
	sweepSettle = 3 * time.Second
	// runtimeTimeout bounds the call of a runtime's program that kills a container; it waits for the container's end.
	runtimeTimeout = 30 * time.Second
)
