// Package service gives Services their addresses on this node, from user space: it listens on each ClusterIP and node
// port and passes connections on to ready endpoints, and it serves the URLs of apps by HTTP host name.
//
// Invariants:
//   - What is served comes from a table of pure values (Service, Backend) that is made of the API's Services and
//     EndpointSlices. Another data path (ebpfproxy) takes the same table.
//   - The table of last time is on disk and serves at once after a restart; the API's takes over only when it is known
//     whole. An API that is away changes nothing.
//   - A frontend without a ready endpoint does not listen, so that clients are refused at once and by the kernel.
//   - Connections that are open outlive changes of the table; those of a removed Service for drainTimeout.
//
// It may import client-go and its own packages.
package service
