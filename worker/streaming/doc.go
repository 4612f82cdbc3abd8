// Package streaming carries the streams of exec, attach and port-forward between whoever asks the node's server and the
// runtime's own stream server.
//
// Clients come with SPDY or with WebSockets. What a runtime's server understands itself (SPDY, and WebSockets up to version 4
// of the channel protocol) is passed through byte by byte. Two newer ways, which kubectl takes first, are not known to all
// runtimes and are translated to SPDY here: version 5 of the channel protocol, and port-forward's SPDY frames
// within WebSocket messages.
//
// Invariants: a client that goes away ends the connection to the runtime, and the other way round; the end of the server's
// context ends all; the runtime never sees a header of the client's beyond those of the upgrade; sessions are bounded in
// number.
//
// It imports nothing of Petrel.
package streaming
