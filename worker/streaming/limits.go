package streaming

import "time"

const (
	// MaxSessions bounds the sessions of a node. Each holds two connections and some goroutines; a script that leaks
	// port-forwards should not take the worker's file descriptors from its pods.
	MaxSessions = 1000
	// maxCommand bounds how many words a command may have; their length is bounded by that of a request's line.
	maxCommand = 4096
	// idleTimeout ends a session over which nothing has gone for so long, as kubelets do by default.
	idleTimeout = 4 * time.Hour
	// openTimeout is what a runtime's stream server may take to answer an upgrade.
	openTimeout = 30 * time.Second
	// maxRefusal bounds how much of a runtime's error text is passed on.
	maxRefusal = 4 << 10
	// pingPeriod keeps connections alive that a firewall would forget.
	pingPeriod = 30 * time.Second
	// lastWords is what telling the client how a command ended may take.
	lastWords = time.Second
)
