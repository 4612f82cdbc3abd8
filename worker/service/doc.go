// Package service gives Services their addresses on this node, and serves the URLs of apps by HTTP host name. What it
// serves is a table; who puts it into effect is a DataPath in the kernel (package kernel) or, where that cannot be had,
// the proxy in user space of this package, which listens on each address and passes connections on.
//
// Invariants:
//   - The table is of pure values (Service, Port, Backend, Frontend), made of the API's Services and EndpointSlices by
//     Compile, and means what it means to Kubernetes' own proxy. Every data path passes the suite of servicetest.
//   - The table of last time is on disk and serves at once after a restart; the API's takes over only when it is known
//     whole. An API that is away changes nothing.
//   - A frontend without an endpoint refuses clients at once; one whose policy leaves none of those that there are does
//     not answer, where the data path can.
//   - Host ports of the node's pods are entries beside the Services; the node alone says which there are.
//   - Connections that are open outlive changes of the table; those to an endpoint or of a Service that has gone for a
//     while.
//
// It may import its own packages, client-go and Prometheus' client. kernel is a room of its own.
package service
