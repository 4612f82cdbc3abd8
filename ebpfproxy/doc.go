// Package ebpfproxy is a service proxy in the kernel: tables of services and backends as pure Go values, kept in BPF maps
// that programs on the socket and packet paths read. It knows nothing of an orchestrator and can be used alone: fill
// Config, call New, Open, then Sync or Update.
//
// Invariants:
//   - A client sees a service as it was or as it is to be, never a mixture: backends are written before the service that
//     names them, a service's slots are written to a fresh range before one map update switches to it, and what is
//     removed goes in reverse.
//   - Ids, slots and backends that were given back rest before they are given again, and each backend entry has a
//     generation, so that what a program remembers of an old backend never leads to another's.
//   - Sync and Update are level-triggered: both end in the same maps as a fresh load of the same services. After an error
//     everything that fitted serves, and the next Sync does the rest.
//   - A socket whose backend left its service is ended: datagram sockets at once, streams after Config.Grace unless the
//     backend serves another service still.
//   - An Enforcer never lets a rule be missing that the old and the new policy both have, and denies what it has no room
//     for. A Steer's addresses are always some listener's: the old one's or the new one's.
//   - A NAT's connection keeps its backend and its ports while packets come, over restarts, and when a full table throws
//     one of its two entries away: each is made again from the other. Of connections towards one backend no two have the
//     same ends; when ports run out, those that are closing make room.
//   - Flows cost nothing while nobody listens, and a slow listener costs nobody else.
//   - With Config.PinDir, maps and links outlive the process; the next Open takes them over without a connection refused.
//     Remove leaves nothing.
//
// It imports its own bpf package and github.com/cilium/ebpf, whose only importers these two are.
package ebpfproxy
