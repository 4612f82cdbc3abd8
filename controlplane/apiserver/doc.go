// Package apiserver speaks the Kubernetes API over HTTP: routes from the table in controlplane/resource, content
// negotiation, watch framing, discovery, OpenAPI, errors as Status, and the limits on all of it.
//
// A request goes: limit → authenticate → authorize → decode → default → admit → validate → guarded transaction →
// encode. The first three and the last are here, the rest is resource.Registry's.
//
// Invariants: bytes that the store has ready are copied, not encoded again (protobuf as it is kept, JSON once for all
// watchers of an event); every error leaves through writeError; every route passes the Authenticator and the
// Authorizer; what is advertised in discovery is routed and the other way round.
//
// Beyond loopback it speaks TLS only, and it reaches nodes over TLS too, each by a certificate that carries its name.
//
// It is the only importer of echo. It may import controlplane/resource, store, upstream, api and auth.
package apiserver
