// Package dns is the node's DNS server: it answers for the cluster's names by the Kubernetes DNS specification 1.1 and
// asks upstream servers for all others.
//
// What is answered for the cluster: Services (A, AAAA, PTR), named ports (SRV), headless Services with an answer a ready
// endpoint and a name of its own for each, ExternalName (CNAME, with what the name leads to), pods by their address
// (a-b-c-d.namespace.pod), dns-version (TXT), and the zone's SOA and NS.
//
// Invariants:
//   - What is answered comes from a table of pure values (Service) that is made of the API's Services and EndpointSlices.
//     The table of last time is on disk and answers at once after a restart; the API's takes over only when it is known
//     whole. An API that is away changes nothing. Without any table the cluster's names fail; they are never denied.
//   - A name below the cluster's domain is never asked of an upstream, and neither is a loopback address.
//   - Upstream answers are cached in a bounded cache; when no upstream answers, what they said last is given for maxStale.
//     One question is asked once, however many wait for the answer.
//   - Queries, connections, flights and the cache have named limits (limits.go). What is beyond is refused, not queued.
//
// It listens on the address of the Service kube-system/kube-dns, so far as that Service says by its label that the nodes
// serve it. Package resolvconf reads resolv.conf and says what pods get as theirs.
//
// It may import miekg/dns, client-go, prometheus, worker/service/feed and its own packages.
package dns
