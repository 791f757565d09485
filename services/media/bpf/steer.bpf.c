/* SPDX-License-Identifier: MIT
 *
 * Brings the datagrams of many media ports to one socket of the thread that relays them, run when the system looks for the
 * socket of a packet.
 *
 * A port that is steered has the number of its thread in `PORTS`. One that is sent more than media would be goes back to its
 * own socket for a while, whose queue it then fills alone: the queue of the thread is everybody's. Processors count without
 * a lock; what they lose of each other makes the bound no worse than a multiple of itself.
 *
 * The layout of `struct port` is that of `src/kernel/steering.rs`.
 */
#include <linux/bpf.h>
#include <linux/in.h>

#define SEC(name) __attribute__((section(name), used))
#define AF_INET 2

/* So many lookups in so many nanoseconds, 8,000 a second, are more than a stream of video; then for so long. A datagram is
 * looked up once or twice, and so is an ICMP message about one. */
#define MOST 512
#define WINDOW 64000000
#define ASIDE 2000000000

static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*now_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*assign)(struct bpf_sk_lookup *, void *socket, __u64 flags) = (void *)BPF_FUNC_sk_assign;
static long (*release)(void *socket) = (void *)BPF_FUNC_sk_release;

struct port {
	/* One more than the number of the thread; zero: not steered. */
	__u32 thread;
	/* Lookups since `since`. */
	__u32 came;
	__u64 since, aside_until;
};

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	__u32 *key;
	struct port *value;
} PORTS SEC(".maps");

struct {
	int (*type)[BPF_MAP_TYPE_SOCKMAP];
	int (*max_entries)[1];
	__u32 *key;
	__u32 *value;
} SOCKETS SEC(".maps");

/* Set when the program is loaded. The address in the order of the wire. */
volatile const __u32 first_port = 0;
volatile const __u32 ports = 0;
volatile const __u32 address = 0;

SEC("sk_lookup")
int drawbridge_steer(struct bpf_sk_lookup *packet)
{
	struct port *port;
	__u32 at, thread;
	void *socket;
	__u64 now;

	if (packet->family != AF_INET || packet->protocol != IPPROTO_UDP || packet->local_ip4 != address)
		return SK_PASS;
	at = packet->local_port - first_port;
	if (at >= ports)
		return SK_PASS;
	port = lookup(&PORTS, &at);
	if (!port || !port->thread)
		return SK_PASS;
	thread = port->thread - 1;
	now = now_ns();
	if (now - port->since > WINDOW) {
		port->since = now;
		port->came = 0;
	}
	port->came++;
	if (port->came > MOST)
		port->aside_until = now + ASIDE;
	if (now < port->aside_until)
		return SK_PASS;
	socket = lookup(&SOCKETS, &thread);
	if (!socket)
		return SK_PASS;
	assign(packet, socket, 0);
	release(socket);
	return SK_PASS;
}

const char terms[] SEC("license") = "Dual MIT/GPL";
