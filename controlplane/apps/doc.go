// Package apps is deploying over HTTP: the handlers below /v1/apps that take a WebAssembly module and answer with a
// live URL, list what runs, stream its logs, and remove it.
//
// A deploy goes: body to disk → check (wasmrt/module) → module registry → Revision → App → wait for the pods → first
// response through the gateway. Everything after the App is other rooms' work; this one only watches it happen, so
// that a client that goes away, or a control plane that is killed, loses no deploy that was acknowledged.
//
// Invariants: a version is written before the App names it, so an App never names what is not there; two deploys at
// once get two versions, and the higher one serves; what a request does not name stays as it is; every error is an
// RFC 9457 problem with a code, a cause and a fix; every body, list and wait has a named limit.
//
// It may import controlplane/api, wasmrt/egress and module, apimachinery and client-go's caches, and reaches everything else
// through the interfaces that it declares.
package apps
