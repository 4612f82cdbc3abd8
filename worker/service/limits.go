package service

import "time"

const (
	// dialTimeout bounds connecting to an endpoint. They are on this machine: what takes longer is not there.
	dialTimeout = 2 * time.Second
	// maxDials is how many endpoints are tried for one connection or request, so long as they refuse within dialTimeout
	// together: of an app that is scaled down or restarted most may have gone before the API says so.
	maxDials = 16
	// drainTimeout is how long connections may go on after their endpoint or their Service has gone, by default.
	drainTimeout = 30 * time.Second

	// Listening that failed is tried again after listenRetry, doubling to listenRetryMax.
	listenRetry    = time.Second
	listenRetryMax = 30 * time.Second

	// maxSticky is how many clients one frontend remembers for session affinity; beyond, the oldest are forgotten.
	maxSticky = 16384

	// udpIdle is how long a client's datagrams go to the same endpoint without one in either direction, udpMaxFlows
	// how many clients one frontend serves at a time, and udpPacket the largest datagram there is.
	udpIdle     = 60 * time.Second
	udpMaxFlows = 4096
	udpPacket   = 64 << 10

	// saveDelay gathers changes of the table before it is written to disk.
	saveDelay = time.Second
)

// Limits of the gateway.
const (
	// holdTimeout is how long a request waits for an app to have a ready endpoint, and maxHeld how many wait at a time.
	holdTimeout = 3 * time.Second
	maxHeld     = 1024
	// holdRetry is how long an endpoint that refused is left alone when there is no other.
	holdRetry = 100 * time.Millisecond
	// retryAfter is what a client is told to wait, in seconds, for an app without endpoints.
	retryAfter = "1"

	// maxHeaderBytes bounds a request's header, headerTimeout its arrival, idleTimeout a connection between requests.
	maxHeaderBytes = 64 << 10
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute

	// idlePerEndpoint is how many connections are kept to one endpoint for the next requests, backendIdle how long.
	idlePerEndpoint = 128
	backendIdle     = 90 * time.Second
	// copyBuffer is the unit of copying bodies.
	copyBuffer = 32 << 10
	// maxSmallBody is what a request's body may have to be sent on in one piece, and so more than once.
	maxSmallBody = 64 << 10
	// upstreamBuffer is the buffer of a connection to an endpoint, each way.
	upstreamBuffer = 4 << 10
	// maxAnswerHeader bounds the header of an endpoint's answer.
	maxAnswerHeader = 1 << 20
	// shutdownTimeout is what requests under way have when the worker ends.
	shutdownTimeout = 2 * time.Second
)
