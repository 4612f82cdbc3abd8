// Package egress says whom a guest may reach, and reaches them.
//
// A Policy is parsed from grants. What no grant allows is denied; a nil Policy denies everything.
//
//	tcp:db.example.com:5432          a name and a port
//	udp:*:53                         any name or address
//	tcp:*.example.com:8000-8999      any name below example.com, a range of ports
//	tcp:10.1.0.0/16:443              addresses; one address has no mask: tcp:10.1.2.3:443, tcp:[::1]:443
//	http:api.example.com             requests to http://api.example.com, port 80 unless one is given
//	https:*.example.com:8443
//	dns                              looking names up
//	*                                everything
//
// A port may be *. The forms http and https are for a client of the host's that makes requests for the guest: they allow
// no connections of the guest's own. tcp grants allow requests, too.
//
// # Names
//
// A name is resolved once, and the connection goes to one of the addresses found then, each of which is checked: there is
// no second look-up in between that could answer otherwise. Whoever owns a name chooses where it leads, so a grant by name,
// or by * as the host, never reaches addresses of the host itself or of its link (loopback, link-local, multicast,
// unspecified), where metadata services and private daemons are. Such an address needs a grant of its own, by address or
// network, for the same port; only the name localhost may lead to loopback, and the grant * to anything.
//
// Who is asked for names a DNS says; without one, the host's resolver is. A name that is not complete is looked up in the
// domains of the DNS as any resolver does it; grants are about the name as the guest says it. A DNS may name a domain that
// is trusted: names below it may lead to certain networks though they are the host's own, as the pods and services of a
// cluster on loopback are.
//
// It imports the standard library alone.
package egress
