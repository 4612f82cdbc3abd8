/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Reading a packet as far as policies ask: addresses, protocol, ports, and whether it begins a connection. */
#pragma once

#include "addr16.h"

#define MAX_EXTENSIONS 6 /* of IPv6; RFC 8200 has each of them once, destination options twice */
#define PROTOCOL_UNKNOWN 255
#define FRAGMENT_OFFSET 0x1fff
#define TCP_FLAGS_OFFSET 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define ICMP_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128

struct packet {
	struct addr16 source, destination;
	__be16 source_port, destination_port;
	__u8 protocol;
	bool follows; /* of a TCP connection that its first packet has been judged for, or an ICMP message about another */
};

/* packet_load reads behind the start of the IP header, whatever the hook's packets begin with. */
inline_fn long packet_load(struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	return bpf_skb_load_bytes_relative(skb, offset, to, size, BPF_HDR_START_NET);
}

/* packet_transport reads what stands behind the IP header. What cannot be read has no ports and passes only where
 * every port may. */
inline_fn void packet_transport(struct __sk_buff *skb, struct packet *p, __u32 offset)
{
	__be16 ports[2];
	__u8 kind;
	switch (p->protocol) {
	case IPPROTO_TCP:
		if (!packet_load(skb, offset + TCP_FLAGS_OFFSET, &kind, 1) &&
		    (kind & (TCP_SYN | TCP_ACK)) != TCP_SYN) {
			p->follows = true;
			return;
		}
		/* fallthrough */
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		if (packet_load(skb, offset, ports, sizeof ports)) {
			p->protocol = PROTOCOL_UNKNOWN;
			return;
		}
		p->source_port = ports[0];
		p->destination_port = ports[1];
		return;
	case IPPROTO_ICMP:
		p->follows = packet_load(skb, offset, &kind, 1) || kind != ICMP_ECHO_REQUEST;
		return;
	case IPPROTO_ICMPV6: /* neighbours, routers and groups are found by it */
		p->follows = packet_load(skb, offset, &kind, 1) || kind != ICMP6_ECHO_REQUEST;
		return;
	}
}

inline_fn bool packet_read4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr ip;
	if (packet_load(skb, 0, &ip, sizeof ip))
		return false;
	p->source = addr16_of4(ip.saddr);
	p->destination = addr16_of4(ip.daddr);
	p->protocol = ip.protocol;
	if (ip.frag_off & bpf_htons(FRAGMENT_OFFSET))
		p->protocol = PROTOCOL_UNKNOWN;
	packet_transport(skb, p, ip.ihl * 4);
	return true;
}

struct extension {
	__u8 next, length;
	__be16 fragment;
};

inline_fn bool packet_read6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6hdr ip;
	if (packet_load(skb, 0, &ip, sizeof ip))
		return false;
	__builtin_memcpy(&p->source, &ip.saddr, sizeof p->source);
	__builtin_memcpy(&p->destination, &ip.daddr, sizeof p->destination);
	__u32 offset = sizeof ip;
	__u8 next = ip.nexthdr;
	p->protocol = PROTOCOL_UNKNOWN;
#pragma unroll
	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT) {
			p->protocol = next;
			break;
		}
		struct extension ext;
		if (packet_load(skb, offset, &ext, sizeof ext))
			break;
		if (next == IPPROTO_FRAGMENT && (ext.fragment & bpf_htons(0xfff8)))
			break;
		offset += next == IPPROTO_FRAGMENT ? 8 : (ext.length + 1) * 8;
		next = ext.next;
	}
	packet_transport(skb, p, offset);
	return true;
}

/* packet_read answers false for what is no IP: policies have nothing to say about it. */
inline_fn bool packet_read(struct __sk_buff *skb, struct packet *p)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return packet_read4(skb, p);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return packet_read6(skb, p);
	return false;
}
