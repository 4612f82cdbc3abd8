// Package servicetest is what every data path of worker/service has to pass: what clients of Services see, from the
// API's objects to the sockets. The cases follow what Kubernetes' own end-to-end tests ask of a service proxy.
//
// Invariants: a case knows nothing of the data path beneath it; clients and endpoints are sockets of the test's process,
// on addresses that the Host names; every case leaves the API as it found it.
//
// It may import worker/service and client-go.
package servicetest
