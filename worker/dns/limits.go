package dns

import "time"

const (
	// clusterTTL is how long answers about the cluster may be kept, in seconds: endpoints change.
	clusterTTL = 5
	// versionTTL is that of the specification's version, as the specification has it.
	versionTTL = 28800
	// maxAnswers bounds the records of one answer; of more endpoints, a random choice is given.
	maxAnswers = 512
	// maxAliases bounds how many aliases are followed for one answer.
	maxAliases = 8

	// maxUDP is the largest datagram that is sent or asked for: what passes everywhere without fragments. Longer answers
	// are truncated and come over TCP.
	maxUDP = 1232
	// minUDP is what every client takes.
	minUDP = 512
	// maxQueries is how many queries are worked on at a time. Beyond, datagrams are dropped: their senders ask again.
	maxQueries = 4096
	// maxConns is how many TCP connections are open at a time; beyond, they wait to be accepted.
	maxConns = 512
	// connQueries is how many queries one of them may bring, connIdle how long it may be silent, connRead how long a query
	// may take to arrive.
	connQueries = 128
	connIdle    = 10 * time.Second
	connRead    = 2 * time.Second
	// shutdownTimeout is what queries under way have when the server ends.
	shutdownTimeout = time.Second

	// Listening that failed is tried again after listenRetry, doubling to listenRetryMax.
	listenRetry    = time.Second
	listenRetryMax = 30 * time.Second
	// saveDelay gathers changes of the table before it is written to disk.
	saveDelay = 2 * time.Second
	// maxState bounds the file that is read back.
	maxState = 256 << 20
)

// Limits of asking upstreams.
const (
	// maxUpstreams bounds how many servers are asked: more would only lengthen the wait.
	maxUpstreams = 8
	// attemptTimeout bounds one question to one server, resolveTimeout all of them for one name. Clients wait five seconds.
	attemptTimeout = 1500 * time.Millisecond
	resolveTimeout = 4500 * time.Millisecond
	// downTimeout bounds one question when every server counts as down.
	downTimeout = 300 * time.Millisecond
	// maxFlights is how many names are asked for at a time; each holds a socket.
	maxFlights = 1024
	// failuresToDown is how many failures in a row make a server count as down: it is then asked last, and probed every
	// probeInterval until it answers.
	failuresToDown = 2
	probeInterval  = time.Second
	// reloadInterval is how often resolv.conf is looked at.
	reloadInterval = 5 * time.Second
)

// Limits of the cache.
const (
	// maxEntries and maxCacheBytes bound the cache; the least recently used answers go first.
	maxEntries    = 16384
	maxCacheBytes = 16 << 20
	// entryOverhead is what an entry costs beside its message, roughly.
	entryOverhead = 512
	// maxTTL bounds how long an answer is fresh, maxNegativeTTL how long the absence of one, failureTTL how long a
	// failure: short enough that what was mended is seen.
	maxTTL         = time.Hour
	maxNegativeTTL = 5 * time.Minute
	failureTTL     = 2 * time.Second
	// maxStale is how long an answer that is no longer fresh may be given when no upstream answers, staleTTL the time to
	// live it is given with, and staleWait how long a client waits for a fresh one before it gets it. RFC 8767.
	maxStale  = 24 * time.Hour
	staleTTL  = 30
	staleWait = 1800 * time.Millisecond
	// staleRetry is how long a stale answer is given at once after no fresh one was to be had.
	staleRetry = 5 * time.Second
)
