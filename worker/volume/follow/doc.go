// Package follow hears of changes of the config maps and secrets that pods of the node mount.
//
// Invariants: an object is watched by its name, once for all pods that mount it and only as long as there is one; who
// follows it is told after every change, and once more when the first look at it is done, because it may have changed
// since they read it; what the follower knows is never older than what it has told of.
//
// It may import client-go and worker/service/feed.
package follow
