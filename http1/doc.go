// Package http1 is an HTTP/1.1 server for the fast paths: a pod's address and the gateway. An isolated guest's answer takes a few
// microseconds, of which a general server would take three times as many to read the request and write the answer; so plain
// requests, which are nearly all, are read and answered here, and every connection that shows anything else is handed to
// net/http, with what was read of it, for the rest of its life.
//
// Plain is a request that is whole in one buffer (maxPlain), of HTTP/1.1, with a path as its target, CRLF line ends, one
// Host, at most one Content-Length, and no header that changes how the message or the connection is to be read (Transfer-Encoding,
// Expect, Upgrade, Connection other than keep-alive, and the like). What is not certainly plain is not.
//
// Invariants:
//   - A handler cannot tell the difference: requests have the same fields, and answers the same meaning, as net/http's. The
//     tests serve the same bytes with both and compare.
//   - The request's context ends when the client goes away, but nobody watches the connection until somebody waits for
//     that, or has been asking for watchAfter.
//   - Every connection that was accepted is counted until it is closed, wherever it is served.
//
// It imports the standard library and the system's calls.
package http1
