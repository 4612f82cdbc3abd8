// Package proxy tries `petrel proxy` the way a cluster's operator would: on a machine of its own, against an API server
// that knows nothing of it, with clients on that machine and on another one.
package proxy
