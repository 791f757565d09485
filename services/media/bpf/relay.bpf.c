/* SPDX-License-Identifier: MIT
 *
 * The relay of settled media streams, run for each packet that an interface receives.
 *
 * A media port has one slot in two arrays: `FLOWS` says what the stream is, written by the relay before and after, never
 * while the slot is active (but for that word); `COUNTS` is what this program has seen of it, behind a lock of its own, so
 * that two processors may handle one stream. What is not a plain RTP packet of an active flow from the source expected
 * goes on to whoever is next, and in the end to the socket that holds the port.
 *
 * Headers are written by helpers and not through packet pointers: a program that writes through them makes the kernel copy
 * the head of every cloned packet before it runs, and on `lo` all of TCP is clones.
 *
 * Without CAP_PERFMON the verifier wants each pointer to come from one place with one offset, whichever way the program went:
 * hence sums instead of branches where it counts.
 *
 * The layout of `struct flow` and `struct counts` is that of `src/kernel/abi.rs`.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define offset_of(type, field) __builtin_offsetof(type, field)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define host16(x) __builtin_bswap16(x)
#define host32(x) __builtin_bswap32(x)
#else
#define host16(x) (x)
#define host32(x) (x)
#endif
#define net16(x) host16((__u16)(x))

static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*now_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static void (*lock)(struct bpf_spin_lock *) = (void *)BPF_FUNC_spin_lock;
static void (*unlock)(struct bpf_spin_lock *) = (void *)BPF_FUNC_spin_unlock;
static long (*load)(const struct __sk_buff *, __u32 at, void *to, __u32 length) = (void *)BPF_FUNC_skb_load_bytes;
static long (*store)(struct __sk_buff *, __u32 at, const void *from, __u32 length,
		     __u64 flags) = (void *)BPF_FUNC_skb_store_bytes;
static long (*fix_checksum)(struct __sk_buff *, __u32 at, __u64 from, __u64 to,
			    __u64 flags) = (void *)BPF_FUNC_l4_csum_replace;
static long (*change_protocol)(struct __sk_buff *, __u16 protocol, __u64 flags) = (void *)BPF_FUNC_skb_change_proto;
static long (*redirect)(__u32 interface, void *next_hop, int length, __u64 flags) = (void *)BPF_FUNC_redirect_neigh;

/* Whoever else is attached, then the stack. */
#define PASS TCX_NEXT
#define TCX_NEXT -1
#define TAKE 0
#define DROP 2

struct ipv4 {
	__u8 version_length, tos;
	__be16 length, id, fragment;
	__u8 ttl, protocol;
	__u16 checksum;
	__be32 source, destination;
};

struct ipv6 {
	__be32 version_class_label;
	__be16 payload;
	__u8 next, hops;
	__be32 source[4], destination[4];
};

struct ports {
	__be16 source, destination;
};

struct udp {
	struct ports ports;
	__be16 length;
	__u16 checksum;
};

struct rtp {
	__u8 first, type;
	__be16 sequence;
	__be32 timestamp, ssrc;
};

struct headers4 {
	struct ipv4 ip;
	struct ports ports;
};

struct headers6 {
	struct ipv6 ip;
	struct ports ports;
};

/* What the relay wants of a port. Addresses of IPv4 are in the first word. */
struct flow {
	__u32 active;
	/* Where it leaves. */
	__u32 interface;
	__be32 local[4], peer[4];
	__be32 source[4], destination[4];
	__be16 peer_port, source_port, destination_port;
	__u8 flags, tos;
	/* What the changes of addresses and of ports mean for the checksum of UDP. */
	__u32 address_change, port_change;
	/* The rate limit: nanoseconds between two packets (0: none), and how far ahead of that a burst may be. */
	__u64 interval, burst;
	/* Nanoseconds of a unit of the timestamp, times 1024; 0: not known, no jitter. */
	__u64 unit;
	__u32 payload_type;
	/* Where packets of the peer come in. */
	__u32 ingress;
	/* The largest IP packet that fits where it leaves. */
	__u32 mtu;
	/* What had been counted as lost, late and double when it was handed over: for who takes it over from a process that died. */
	__u32 lost, reordered, duplicates;
};

#define IPV6_OUT 1
/* RTCP shares the port; it is read in userspace. */
#define MUXED 2
/* `interface` is the one of packets that stay in this host. */
#define STAYS 4

/* What came of it: RFC 3550 A.1, A.3 and A.8. */
struct counts {
	struct bpf_spin_lock lock;
	__u32 ssrc;
	__u64 packets, octets, limited;
	__u64 last_seen;
	/* The run of sequence numbers: its first one, the highest with its cycles, how many came. */
	__u64 first, highest, received;
	__u64 lost_before;
	/* Which of the numbers up to the highest came, that one in the lowest bit. */
	__u64 recent;
	__u64 reordered, duplicates;
	/* After a jump, 0x10000 and the number that would prove it was not a stray packet. */
	__u32 suspect;
	/* Packets in a row of another payload type. */
	__u32 others;
	/* In nanoseconds, times 16. */
	__u64 jitter;
	__u64 arrival;
	__u32 timestamp;
	/* There is an `arrival` and a `timestamp` to compare with. */
	__u32 sampled;
	/* When a packet would come that keeps to the rate limit exactly. */
	__u64 due;
};

/* Of all streams, for /metrics: those of one stream end with it. */
struct totals {
	__u64 packets, octets, limited;
};

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	__u32 *key;
	struct flow *value;
} FLOWS SEC(".maps");

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	__u32 *key;
	struct counts *value;
} COUNTS SEC(".maps");

struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_ARRAY];
	int (*max_entries)[1];
	__u32 *key;
	struct totals *value;
} TOTALS SEC(".maps");

/* Until when flows are relayed, by the clock of `now_ns`. The process puts it off as long as it lives; where the program outlives
 * its process, packets go to whoever holds the port by then. */
struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	__u32 *key;
	__u64 *value;
} LEASE SEC(".maps");

/* The first media port, the pairs of ports from there, and the slot of the first pair in each family (all ones: none). */
const volatile __u32 first_port = 0;
const volatile __u32 pairs = 0;
const volatile __u32 slots4 = ~0u;
const volatile __u32 slots6 = ~0u;

#define MAX_DROPOUT 3000
#define MAX_MISORDER 100

INLINE void restart(struct counts *c, __u32 ssrc, __u16 sequence)
{
	__u64 expected = c->highest + 1 - c->first;

	if (c->received && expected > c->received)
		c->lost_before += expected - c->received;
	c->ssrc = ssrc;
	c->first = sequence;
	c->highest = sequence;
	c->received = 1;
	c->recent = 1;
	c->suspect = 0;
}

/* Whether it says anything of when it was sent: not when it was here before. */
INLINE int observe_sequence(struct counts *c, __u32 ssrc, __u16 sequence)
{
	__u16 highest = c->highest;
	__u16 step = sequence - highest, behind = highest - sequence;
	__u64 bit = 0;
	int late = 0, again;

	if (!c->received || c->ssrc != ssrc) {
		restart(c, ssrc, sequence);
		c->sampled = 0;
		return 1;
	}
	if (step && step < MAX_DROPOUT) {
		c->highest += step;
		c->recent = step < 64 ? c->recent << step | 1 : 1;
		again = 0;
	} else if (step && step <= 0xffff - MAX_MISORDER) {
		if (c->suspect == (0x10000u | sequence))
			restart(c, ssrc, sequence);
		else
			c->suspect = 0x10000u | (__u16)(sequence + 1);
		return 1;
	} else {
		if (behind < 64)
			bit = 1ull << behind;
		again = !step || c->recent & bit;
		late = !again;
		c->recent |= bit;
	}
	c->suspect = again ? c->suspect : 0;
	c->received += !again;
	c->reordered += late;
	c->duplicates += again;
	return !again;
}

INLINE void observe_jitter(struct counts *c, const struct flow *flow, __u8 type, __u32 timestamp, __u64 now)
{
	__s64 late;

	if (type != flow->payload_type) {
		c->others++;
		return;
	}
	c->others = 0;
	if (c->sampled) {
		late = (__s64)(now - c->arrival);
		late -= ((__s64)(__s32)(timestamp - c->timestamp) * (__s64)flow->unit) >> 10;
		if (late < 0)
			late = -late;
		c->jitter += late - ((c->jitter + 8) >> 4);
	}
	c->arrival = now;
	c->timestamp = timestamp;
	c->sampled = flow->unit != 0;
}

/* Whether it may go on. What is beyond the rate has come nevertheless. */
INLINE int count(struct counts *c, const struct flow *flow, const struct rtp *rtp, __u32 octets, __u64 now)
{
	int within = 1;

	lock(&c->lock);
	c->last_seen = now;
	if (observe_sequence(c, host32(rtp->ssrc), host16(rtp->sequence)))
		observe_jitter(c, flow, rtp->type & 0x7f, host32(rtp->timestamp), now);
	if (flow->interval) {
		if (c->due > now + flow->burst)
			within = 0;
		else
			c->due = (c->due > now ? c->due : now) + flow->interval;
	}
	c->packets += within;
	c->octets += within ? octets : 0;
	c->limited += !within;
	unlock(&c->lock);
	return within;
}

/* It did not leave after all. */
INLINE void uncount(struct counts *c, __u32 octets)
{
	lock(&c->lock);
	c->packets--;
	c->octets -= octets;
	c->limited++;
	unlock(&c->lock);
}

INLINE void count_total(int within, __u32 octets)
{
	__u32 zero = 0;
	struct totals *totals = lookup(&TOTALS, &zero);

	if (!totals)
		return;
	totals->packets += within;
	totals->octets += within ? octets : 0;
	totals->limited += !within;
}

/* The octets after header, CSRC list, extension and without padding; negative: a header longer than its packet. */
INLINE int payload_of(struct __sk_buff *skb, __u32 at, const struct rtp *rtp, __u32 length)
{
	__u32 start = sizeof(*rtp) + (rtp->first & 0x0f) * 4;
	__be16 extension[2];
	__u8 padding;
	int payload;

	if (rtp->first & 0x10) {
		if (start + 4 > length || load(skb, at + start, extension, 4))
			return -1;
		start += 4 + host16(extension[1]) * 4;
	}
	if (start > length)
		return -1;
	payload = length - start;
	if (rtp->first & 0x20) {
		if (load(skb, at + length - 1, &padding, 1))
			return -1;
		if (padding <= payload)
			payload -= padding;
	}
	return payload;
}

INLINE __u16 header_checksum(const struct ipv4 *ip)
{
	const __u16 *word = (const void *)ip;
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum;
}

INLINE int write4(struct __sk_buff *skb, const struct flow *flow, struct ipv4 *ip)
{
	struct headers4 out = { .ip = *ip };

	out.ip.tos = flow->tos;
	out.ip.ttl -= 1;
	out.ip.source = flow->source[0];
	out.ip.destination = flow->destination[0];
	out.ip.checksum = 0;
	out.ip.checksum = header_checksum(&out.ip);
	out.ports.source = flow->source_port;
	out.ports.destination = flow->destination_port;
	return store(skb, ETH_HLEN, &out, sizeof(out), 0) ? -1 : (int)sizeof(out.ip);
}

INLINE int write6(struct __sk_buff *skb, const struct flow *flow, __be16 payload, __u8 hops)
{
	struct headers6 out;

	out.ip.version_class_label = host32(6u << 28 | (__u32)flow->tos << 20);
	out.ip.payload = payload;
	out.ip.next = IPPROTO_UDP;
	out.ip.hops = hops - 1;
	__builtin_memcpy(out.ip.source, flow->source, 16);
	__builtin_memcpy(out.ip.destination, flow->destination, 16);
	out.ports.source = flow->source_port;
	out.ports.destination = flow->destination_port;
	return store(skb, ETH_HLEN, &out, sizeof(out), 0) ? -1 : (int)sizeof(out.ip);
}

/* Into the other family: the protocol of the frame changes with the header. */
INLINE int cross(struct __sk_buff *skb, __be16 protocol)
{
	return change_protocol(skb, protocol, 0) ||
	       store(skb, offset_of(struct ethhdr, h_proto), &protocol, sizeof(protocol), 0);
}

INLINE int same(const __be32 *one, const __be32 *other)
{
	return ((one[0] ^ other[0]) | (one[1] ^ other[1]) | (one[2] ^ other[2]) | (one[3] ^ other[3])) == 0;
}

/* From here on the packet is changed: what fails now is lost. */
INLINE int forward(struct __sk_buff *skb, const struct flow *flow, struct ipv4 *ip4, const struct udp *udp, __u8 hops)
{
	__u32 out6 = flow->flags & IPV6_OUT, change = flow->address_change;
	__u32 here = flow->flags & STAYS && skb->ifindex == flow->interface;
	int header, at;

	if (ip4) {
		if (!out6)
			header = write4(skb, flow, ip4);
		else
			header = cross(skb, net16(ETH_P_IPV6)) ? -1 : write6(skb, flow, udp->length, hops);
		here = here && !out6;
	} else if (out6) {
		header = write6(skb, flow, udp->length, hops);
	} else {
		struct ipv4 ip = {
			.version_length = 0x45,
			.length = net16(host16(udp->length) + sizeof(ip)),
			.fragment = net16(0x4000),
			.ttl = hops,
			.protocol = IPPROTO_UDP,
		};

		header = cross(skb, net16(ETH_P_IP)) ? -1 : write4(skb, flow, &ip);
		here = 0;
	}
	if (header < 0)
		return DROP;
	at = ETH_HLEN + header + offset_of(struct udp, checksum);
	if (udp->checksum &&
	    (fix_checksum(skb, at, 0, change, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) ||
	     fix_checksum(skb, at, 0, flow->port_change, BPF_F_MARK_MANGLED_0)))
		return DROP;
	return here ? TAKE : redirect(flow->interface, 0, 0, 0);
}

/* A packet of IP with no options, in one piece. */
struct packet {
	__be32 source[4], destination[4];
	__u32 header, udp_length;
	__u8 hops;
};

INLINE int relay(struct __sk_buff *skb, const struct packet *packet, struct ipv4 *ip4, const struct udp *udp,
		 const struct rtp *rtp, __u32 slots)
{
	__u32 port = host16(udp->ports.destination) - first_port, slot, zero = 0;
	const struct flow *flow;
	const __u64 *lease;
	struct counts *counts;
	__u64 now;
	int octets, within, verdict = DROP;
	__u32 length;

	/* The odd ports are for RTCP. */
	if (slots == ~0u || port & 1 || port / 2 >= pairs)
		return PASS;
	slot = slots + port / 2;
	flow = lookup(&FLOWS, &slot);
	if (!flow || !flow->active)
		return PASS;
	/* This runs before the stack looks whether an address may come from there (rp_filter). */
	if (skb->ifindex != flow->ingress)
		return PASS;
	if (udp->ports.source != flow->peer_port || !same(packet->source, flow->peer) ||
	    !same(packet->destination, flow->local))
		return PASS;
	if (packet->hops <= 1 || rtp->first >> 6 != 2)
		return PASS;
	if (flow->flags & MUXED && rtp->type >= 192 && rtp->type <= 223)
		return PASS;
	/* Room for the larger header, whichever it gets. IPv6 wants a checksum; who has none gets it in userspace. */
	length = packet->udp_length;
	if (length + sizeof(struct ipv6) > flow->mtu || (flow->flags & IPV6_OUT && !udp->checksum))
		return PASS;
	octets = payload_of(skb, ETH_HLEN + packet->header + sizeof(*udp), rtp, length - sizeof(*udp));
	counts = lookup(&COUNTS, &slot);
	lease = lookup(&LEASE, &zero);
	now = now_ns();
	if (octets < 0 || !counts || !lease || now > *lease)
		return PASS;
	within = count(counts, flow, rtp, octets, now);
	if (within) {
		/* A neighbour that does not answer or a full queue shows later, and not to this program: such packets are
		 * counted as relayed, as those are that a socket has taken. */
		verdict = forward(skb, flow, ip4, udp, packet->hops);
		if (verdict == DROP)
			uncount(counts, octets);
	}
	count_total(verdict != DROP, octets);
	return verdict;
}

INLINE int relay4(struct __sk_buff *skb)
{
	struct {
		struct ipv4 ip;
		struct udp udp;
		struct rtp rtp;
	} in;
	struct packet packet = { .header = sizeof(in.ip) };

	if (load(skb, ETH_HLEN, &in, sizeof(in)))
		return PASS;
	/* Fragments, options and what was damaged are for the stack. */
	if (header_checksum(&in.ip))
		return PASS;
	if (in.ip.version_length != 0x45 || in.ip.protocol != IPPROTO_UDP || in.ip.fragment & net16(0x3fff))
		return PASS;
	packet.udp_length = host16(in.udp.length);
	if (packet.udp_length < sizeof(in.udp) + sizeof(in.rtp) ||
	    packet.udp_length + sizeof(in.ip) != host16(in.ip.length) || host16(in.ip.length) + ETH_HLEN > skb->len)
		return PASS;
	packet.source[0] = in.ip.source;
	packet.destination[0] = in.ip.destination;
	packet.hops = in.ip.ttl;
	return relay(skb, &packet, &in.ip, &in.udp, &in.rtp, slots4);
}

INLINE int relay6(struct __sk_buff *skb)
{
	struct {
		struct ipv6 ip;
		struct udp udp;
		struct rtp rtp;
	} in;
	struct packet packet = { .header = sizeof(in.ip) };

	if (load(skb, ETH_HLEN, &in, sizeof(in)))
		return PASS;
	/* Over IPv6 a datagram without a checksum is none (RFC 8200 section 8.1). */
	if (in.ip.next != IPPROTO_UDP || !in.udp.checksum)
		return PASS;
	packet.udp_length = host16(in.udp.length);
	if (packet.udp_length < sizeof(in.udp) + sizeof(in.rtp) || in.udp.length != in.ip.payload ||
	    packet.udp_length + sizeof(in.ip) + ETH_HLEN > skb->len)
		return PASS;
	__builtin_memcpy(packet.source, in.ip.source, 16);
	__builtin_memcpy(packet.destination, in.ip.destination, 16);
	packet.hops = in.ip.hops;
	return relay(skb, &packet, 0, &in.udp, &in.rtp, slots6);
}

SEC("classifier")
int drawbridge(struct __sk_buff *skb)
{
	/* Datagrams that the receiving card or a sender on this host has put together; and frames of a virtual network, which are
	 * for the interface of that. */
	if (skb->gso_segs > 1 || skb->vlan_present)
		return PASS;
	/* Frames that a switch or a promiscuous interface brings, and those for all. */
	if (skb->pkt_type != PACKET_HOST)
		return PASS;
	if (skb->protocol == net16(ETH_P_IP))
		return relay4(skb);
	if (skb->protocol == net16(ETH_P_IPV6))
		return relay6(skb);
	return PASS;
}

const char terms[] SEC("license") = "Dual MIT/GPL";

_Static_assert(sizeof(struct flow) == 136, "as src/kernel/abi.rs has it");
_Static_assert(sizeof(struct counts) == 136, "as src/kernel/abi.rs has it");
