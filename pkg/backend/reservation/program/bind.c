//go:build ignore

// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

// Programs for cgroup/bind4 and cgroup/bind6: a bind to a port that is held for a mapping
// fails with EADDRINUSE. "make generate" compiles them into Go. No header is included, so
// that the compiler alone decides what comes out; numbers and structs are those of
// include/uapi/linux/bpf.h.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define INLINE static inline __attribute__((always_inline))
#define SECTION(name) __attribute__((section(name), used))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BE32(x) __builtin_bswap32(x)
// Where sk_common.skc_ipv6only is: a bit field of one byte (include/net/sock.h), at the
// same place in every kernel that has these hooks. The probe sees to it.
#define V6ONLY_BIT 0x20
#else
#define BE32(x) (x)
#define V6ONLY_BIT 0x04
#endif
#define V6ONLY_BYTE 19

struct bpf_sock {
	u32 bound_dev_if;
};

struct bpf_sock_addr {
	u32 user_family;
	u32 user_ip4;
	u32 user_ip6[4];
	u32 user_port;
	u32 family;
	u32 type;
	u32 protocol;
	u32 msg_src_ip4;
	u32 msg_src_ip6[4];
	u32 : 32;
	struct bpf_sock *sk;
};

// A slot is what can be held: a port, on all addresses or on one. IPv4 is written
// ::ffff:a.b.c.d. Package holds writes the same bytes.
struct slot {
	u64 netns;
	u32 addr[4];
	u16 port; // in network order, as all addresses
	u8 proto;
	u8 pad[5];
};

// What is held of a port. The slot of all addresses has the flags of both families; that
// of one address has ANY4 or ANY6 of its own.
#define ANY4 1
#define ANY6 2
#define ONE4 4 // some slot of one address has this port
#define ONE6 8
#define LOCALHOST 16 // ANY4 includes 127.0.0.1
// 32 is for user space.
#define ANYWHERE4 64 // nobody knows which link some slot of one address is on
#define ANYWHERE6 128

struct hold {
	char owner4[24], owner6[24];
	u32 spare4, spare6; // sets of addresses that ANY4 and ANY6 leave out
	u32 flags;
	u32 pad;
};

// An address that is left out: of a set, or with set 0 of every port of the node.
struct spared {
	u32 bits; // of what follows
	u32 set;
	u64 netns;
	u32 addr[4];
};
#define ALL_BITS 224

struct refusal {
	u64 count;
	u64 when; // since boot, suspended time included
	u32 pid;
	u32 group; // see group_above
	char comm[16];
	u32 addr[4];
};

extern u8 ports, spare, refused; // maps of slot to hold, spared to u32, slot to refusal

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
#ifdef PID
static u64 (*const get_current_pid_tgid)(void) = (void *)14;
#endif
static long (*const get_current_comm)(void *buf, u32 size) = (void *)16;
static u64 (*const get_current_ancestor_cgroup_id)(int level) = (void *)123;
static u64 (*const get_netns_cookie)(void *ctx) = (void *)122;
static u64 (*const ktime_get_boot_ns)(void) = (void *)125;
static void *(*const skc_to_tcp6_sock)(void *sk) = (void *)136;
static void *(*const skc_to_udp6_sock)(void *sk) = (void *)140;
static int (*const set_retval)(int retval) = (void *)187;

#define TCP 6
#define LO 1 // LOOPBACK_IFINDEX
#define EADDRINUSE 98
#define BPF_NOEXIST 1

enum { DENY, ALLOW };

// group_above is the cgroup above that of the process, of v2: where a container has a group of
// its own, that of its pod, which outlives the container. It is the lower half of the ID, which
// no other group has at the same time (kernfs counts in it).
INLINE u32 group_above(void)
{
	u64 above = 0, own = 0;

	for (int level = 0; level < 32; level++) {
		u64 id = get_current_ancestor_cgroup_id(level);
		if (!id)
			break;
		above = own;
		own = id;
	}
	return above;
}

// refuse remembers who was refused, for the port.
INLINE int refuse(struct slot *k, u32 a0, u32 a1, u32 a2, u32 a3)
{
	k->addr[0] = k->addr[1] = k->addr[2] = k->addr[3] = 0;
	struct refusal *r = map_lookup(&refused, k);
	if (!r) {
		struct refusal none = {};
		map_update(&refused, k, &none, BPF_NOEXIST);
		r = map_lookup(&refused, k);
	}
	if (r) {
		__sync_fetch_and_add(&r->count, 1);
		r->when = ktime_get_boot_ns();
#ifdef PID
		r->pid = get_current_pid_tgid() >> 32;
#endif
		r->group = group_above();
		get_current_comm(r->comm, sizeof(r->comm));
		r->addr[0] = a0;
		r->addr[1] = a1;
		r->addr[2] = a2;
		r->addr[3] = a3;
	}
	set_retval(-EADDRINUSE);
	return DENY;
}

// left_out reports whether mappings of all addresses leave this one out.
INLINE int left_out(struct slot *k, u32 set, u32 a0, u32 a1, u32 a2, u32 a3)
{
	struct spared s = { .bits = ALL_BITS, .set = 0, .netns = k->netns, .addr = { a0, a1, a2, a3 } };
	if (map_lookup(&spare, &s))
		return 1;
	s.set = set;
	return set && map_lookup(&spare, &s);
}

// one reports whether the port is held on this very address.
INLINE int one(struct slot *k, u32 a0, u32 a1, u32 a2, u32 a3)
{
	k->addr[0] = a0;
	k->addr[1] = a1;
	k->addr[2] = a2;
	k->addr[3] = a3;
	return map_lookup(&ports, k) != 0;
}

// meets reports whether the port is held on some address that a socket on all addresses of a
// family receives. One that is bound to a link receives what comes in by that: the slot
// ::fffe:0:0 + link has the families of the addresses that are on it. By lo come those of all.
INLINE int meets(struct bpf_sock_addr *ctx, struct slot *k, u32 flags, u32 one, u32 anywhere)
{
	struct bpf_sock *sk = ctx->sk;
	u32 link = sk ? sk->bound_dev_if : 0;

	if (!(flags & one))
		return 0;
	if (!link || link == LO || flags & anywhere)
		return 1;
	k->addr[0] = k->addr[1] = 0;
	k->addr[2] = BE32(0xfffe);
	k->addr[3] = BE32(link);
	struct hold *on = map_lookup(&ports, k);
	return on && on->flags & one;
}

INLINE int all4(struct bpf_sock_addr *ctx, struct slot *k, u32 flags)
{
	return flags & ANY4 || meets(ctx, k, flags, ONE4, ANYWHERE4);
}

INLINE int all6(struct bpf_sock_addr *ctx, struct slot *k, u32 flags)
{
	return flags & ANY6 || meets(ctx, k, flags, ONE6, ANYWHERE6);
}

INLINE int taken4(struct bpf_sock_addr *ctx, struct slot *k, struct hold *h, u32 a)
{
	u32 flags = h->flags, mapped = BE32(0xffff);

	if (a == 0)
		return all4(ctx, k, flags);
	if (flags & ANY4) {
		u32 net = a & BE32(0xff000000);
		int spared = (a & BE32(0xf0000000)) == BE32(0xe0000000) || a == 0xffffffff; // multicast, broadcast
		if (net == BE32(0x7f000000))
			spared = a != BE32(0x7f000001) || !(flags & LOCALHOST);
		if (!spared && !left_out(k, h->spare4, 0, 0, mapped, a))
			return 1;
	}
	return flags & ONE4 && one(k, 0, 0, mapped, a);
}

INLINE int taken6(struct slot *k, struct hold *h, u32 a0, u32 a1, u32 a2, u32 a3)
{
	u32 flags = h->flags;

	if (flags & ANY6) {
		int spared = (a0 & BE32(0xff000000)) == BE32(0xff000000) || (a0 & BE32(0xffc00000)) == BE32(0xfe800000);
		if (!(a0 | a1 | a2) && a3 == BE32(1))
			spared = 1;
		if (!spared && !left_out(k, h->spare6, a0, a1, a2, a3))
			return 1;
	}
	return flags & ONE6 && one(k, a0, a1, a2, a3);
}

// v6only reports whether the socket is for IPv6 alone.
INLINE int v6only(struct bpf_sock_addr *ctx)
{
	void *sk = ctx->sk;

	if (!sk)
		return 0;
	sk = ctx->protocol == TCP ? skc_to_tcp6_sock(sk) : skc_to_udp6_sock(sk);
	return sk && ((u8 *)sk)[V6ONLY_BYTE] & V6ONLY_BIT;
}

// held finds what is held of the port, on whatever address.
INLINE struct hold *held(struct bpf_sock_addr *ctx, struct slot *k)
{
	k->port = ctx->user_port;
	if (!k->port) // the kernel chooses one
		return 0;
	k->proto = ctx->protocol;
	k->netns = get_netns_cookie(ctx);
	return map_lookup(&ports, k);
}

SECTION("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	struct slot k = {};
	struct hold *h = held(ctx, &k);

	if (!h)
		return ALLOW;
	u32 a = ctx->user_ip4;
	if (!taken4(ctx, &k, h, a))
		return ALLOW;
	return refuse(&k, 0, 0, BE32(0xffff), a);
}

SECTION("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	struct slot k = {};
	struct hold *h = held(ctx, &k);

	if (!h)
		return ALLOW;
	u32 a0 = ctx->user_ip6[0], a1 = ctx->user_ip6[1], a2 = ctx->user_ip6[2], a3 = ctx->user_ip6[3];
	int taken;
	if (!(a0 | a1) && a2 == BE32(0xffff))
		taken = taken4(ctx, &k, h, a3);
	else if (a0 | a1 | a2 | a3)
		taken = taken6(&k, h, a0, a1, a2, a3);
	else
		taken = all6(ctx, &k, h->flags) || (!v6only(ctx) && all4(ctx, &k, h->flags));
	if (!taken)
		return ALLOW;
	return refuse(&k, a0, a1, a2, a3);
}
