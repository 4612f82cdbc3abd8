// Package logrotate keeps the logs of running containers from filling the node's disk: a log that has grown too long is
// moved aside, its container goes on in a new file, and of what was moved aside the newest few are kept, compressed.
//
// Invariants: no line is lost: a log is moved within its directory and goes on being written to until its runtime has
// opened the new one, and if that fails it is moved back. What is kept beside the log is named after it, with the time.
//
// It imports nothing of ours.
package logrotate
