package apiserver

import "time"

const (
	// MaxRequestBody bounds the body of an API request, as Kubernetes does: twice what etcd stores, since JSON is
	// longer than protobuf.
	MaxRequestBody = 3 << 20
	// maxHeaderBytes bounds a request's line and headers.
	maxHeaderBytes = 64 << 10
	// MaxMutatingInFlight and MaxReadOnlyInFlight bound the requests served at once, as in Kubernetes; those beyond
	// are asked to come again. Watches and log streams are not counted: each is a goroutine that mostly waits.
	MaxMutatingInFlight = 200
	MaxReadOnlyInFlight = 400
	// retryAfterSeconds is when a refused request should come again.
	retryAfterSeconds = 1
	// maxSelectorBytes bounds a label or field selector.
	maxSelectorBytes = 16 << 10
	// maxAcceptClauses bounds how many media types of an Accept header are looked at.
	maxAcceptClauses = 32

	// readHeaderTimeout bounds how long a client may take to send its headers, idleTimeout how long a connection
	// may lie unused.
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// requestTimeout bounds a request that is no watch and no log stream.
	requestTimeout = 60 * time.Second
	// streamWriteTimeout bounds one write to a watcher or a log reader: one that takes nothing for so long is gone.
	streamWriteTimeout = 30 * time.Second
	// shutdownTimeout bounds how long requests under way may take once the server is to stop.
	shutdownTimeout = 5 * time.Second

	// flushEvery is how many initial events a watch sends before it flushes and gives the client time for the next.
	flushEvery = 256
	// bookmarkInterval is how often a quiet watch tells how far it has seen.
	bookmarkInterval = 30 * time.Second
	// minWatch and maxWatch bound a watch that names no timeout; the spread keeps clients from coming back at once.
	minWatch = 30 * time.Minute
	maxWatch = 60 * time.Minute

	// nodeDialTimeout and nodeHeaderTimeout bound how long a node may take to begin to answer for its logs.
	nodeDialTimeout   = 5 * time.Second
	nodeHeaderTimeout = 15 * time.Second
	// maxNodeError bounds how much of a node's error text is passed on.
	maxNodeError = 4 << 10
)
