/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shm back end: nodes are processes of one machine. What they share, and
 * what each keeps. Private to transport/shm/.
 *
 * Threads. One thread per transport; the other observer of every atomic here
 * is the thread of a peer's transport, usually in another process.
 *
 * Memory ordering. What is shared is in three kinds of pages, and there are
 * five orderings:
 *
 * RING_1   imm ring. The sender copies data, writes the slot, then stores
 *          `tail` RELEASE; the receiver loads `tail` ACQUIRE before it reads
 *          slots and lets the user read data. `head` goes back the same way.
 * WAKE_1   sleeping (Dekker). The waker stores its news (tail, is_closed,
 *          head), then `rung` = 1 SEQ_CST, then loads `is_armed` SEQ_CST. The
 *          sleeper stores `is_armed` = 1 SEQ_CST, then loads `rung` SEQ_CST.
 *          One of them sees the other, so no news is slept over. Poll takes
 *          `rung` to 0 SEQ_CST before it looks for the news.
 * ROOM_1   the same between a sender that met a full ring (`wants_room` = 1,
 *          then loads `head`) and the receiver (stores `head`, then loads
 *          `wants_room`), all SEQ_CST.
 * FENCE_1  the same between an operation (`in_flight` = 1, then loads the
 *          peer's `is_closed`) and the peer that closes (`is_closed` = 1,
 *          then loads `in_flight`), all SEQ_CST: either the operation sees
 *          the flag and touches nothing, or the closing side sees it in
 *          flight and waits for the RELEASE store of 0.
 * EXPORT_1 export table. The owner fills an entry and stores `rkey` RELEASE;
 *          a peer loads it ACQUIRE, and again after it has mapped the memory.
 */
#ifndef DIPC_TRANSPORT_SHM_H
#define DIPC_TRANSPORT_SHM_H

#include <assert.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "transport/ops.h"

#define SHM_CHAIN_MAX 32u
#define SHM_DEPTH_MAX 256u  /* power of two */
#define SHM_RING_LEN  1024u /* power of two */

/* ---- shared memory ------------------------------------------------------ */

/* What one side of a connection writes and the other reads; RING_1... above. */
struct shm_half {
	_Alignas(64) _Atomic uint32_t is_closed;
	_Atomic uint32_t wants_room;
	_Alignas(64) _Atomic uint32_t in_flight;
	_Alignas(64) _Atomic uint32_t tail; /* of ring[] */
	_Alignas(64) _Atomic uint32_t head; /* of the other side's ring[] */
	_Alignas(64) _Atomic uint32_t ring[SHM_RING_LEN];
};

/* One connection: made by the connecting side, which is half[0]. */
struct shm_ctl {
	struct shm_half half[2];
};

/* One transport's bell: every peer may write it. */
struct shm_bell {
	_Atomic uint32_t rung;
	_Atomic uint32_t is_armed;
};

/* rkey = slot | generation << SHM_SLOT_BITS; generation 0 is never used. */
#define SHM_SLOT_BITS 13u
#define SHM_SLOTS     (1u << SHM_SLOT_BITS)

struct shm_export {
	_Atomic uint32_t rkey; /* 0: free. EXPORT_1 */
	int32_t fd;            /* in the owner's process */
	uint64_t len;
	uint64_t dev, ino; /* what the fd must turn out to be */
};

/* What one transport has registered. Sealed: only the owner can write it. */
struct shm_exports {
	_Atomic uint32_t nr_removed; /* peers drop mappings when it changes */
	uint32_t pid;                /* for people */
	struct shm_export slot[SHM_SLOTS];
};

static_assert(sizeof(struct shm_export) == 32, "shared layout");
static_assert(offsetof(struct shm_exports, slot) == 8, "shared layout");
static_assert(offsetof(struct shm_half, ring) == 256, "shared layout");
static_assert(sizeof(struct shm_half) == 256 + 4 * SHM_RING_LEN, "layout");

/* ---- a transport -------------------------------------------------------- */

struct shm_transport {
	struct dipc_transport base; /* base.fd: epoll of all below */
	unsigned peer_timeout_ms;
	int listen_fd;  /* owned */
	int event_fd;   /* owned; peers that find us armed write it */
	int timer_fd;   /* owned; ticks in sleep, see shm_arm() */
	int bell_fd;    /* owned memfd, handed to peers */
	int exports_fd; /* owned memfd, handed to peers */
	dev_t sock_dev; /* our socket file, so that we remove no other */
	ino_t sock_ino;
	struct shm_bell *bell;        /* owned mapping */
	struct shm_exports *exports;  /* owned mapping */
	uint32_t rkey_gen[SHM_SLOTS]; /* last generation of each slot */
	unsigned next_slot;
	struct dipc_list conns; /* of shm_conn.node */
	unsigned nr_conns;
	unsigned nr_transient; /* conns neither ready nor gone */
	unsigned nr_regions;
	uint64_t sockets_ms; /* when the sockets were last looked at */
	unsigned nr_spins;
	bool is_armed;
	bool is_ticking;
	bool is_polling;
	bool has_work; /* scan the connections even when not rung */
};

struct shm_region {
	struct dipc_region base;
	int fd;        /* owned */
	unsigned slot; /* in exports */
};

/* ---- a connection ------------------------------------------------------- */

enum shm_conn_state {
	SHM_CONN_DIALLING, /* the peer's backlog was full: try again */
	SHM_CONN_HELLO,    /* hello sent, reply to come */
	SHM_CONN_ACCEPTED, /* hello to come */
	SHM_CONN_READY,
	SHM_CONN_CLOSING, /* ops are failed, then the fence awaited */
	SHM_CONN_GONE,
	SHM_CONN_NR_STATES,
};

/* A peer's region as mapped here; cached by slot. */
struct shm_map {
	uint32_t rkey; /* 0: none */
	uint8_t *base;
	size_t len;
};

struct shm_conn {
	struct dipc_conn base;
	struct dipc_list node; /* in transport's conns */
	enum shm_conn_state state;
	int sock;   /* owned; -1 while dialling */
	int ctl_fd; /* owned memfd; -1 once the peer has it */
	pid_t peer_pid;
	char *peer_path;      /* owned; NULL on the accepting side */
	uint64_t looked_ms;   /* patience was counted up to here */
	uint64_t patience_ms; /* left: for the handshake, or the fence */
	int reason;           /* for closed(), from CLOSING on */
	bool is_silent;       /* the user never heard of it: no closed() */
	bool is_dead;         /* the peer's end of the socket is closed */
	uint8_t hello[DIPC_HELLO_MAX];
	size_t hello_len;

	struct shm_ctl *ctl;  /* owned mapping */
	struct shm_half *out; /* what we write */
	struct shm_half *in;  /* what the peer writes: never trusted */
	uint32_t out_tail;    /* our own copies of what we wrote there */
	uint32_t in_head;
	uint32_t room_head; /* peer's head when last looked at */

	struct shm_bell *peer_bell; /* owned mapping */
	int peer_event_fd;          /* owned */

	const struct shm_exports *peer_exports; /* owned mapping */
	uint32_t peer_removed; /* its nr_removed when last looked at */
	struct shm_map *maps;  /* owned, SHM_SLOTS */

	struct dipc_list pending; /* dipc_op.node: not done, in order */
	struct dipc_wr *wr; /* owned, SHM_DEPTH_MAX: requests of pending */
	uint32_t wr_head, wr_tail;
};

static inline struct shm_transport *shm_of(struct dipc_transport *t)
{
	return dipc_container_of(t, struct shm_transport, base);
}

static inline struct shm_transport *shm_conn_transport(struct shm_conn *conn)
{
	return shm_of(conn->base.transport);
}

/* ---- shm_transport.c ---- */
uint64_t shm_now_ms(void); /* coarse, to some ms; never a system call */

/* ---- shm_sock.c: Unix sockets and memory that can be handed over ---- */
#define SHM_MSG_FDS 4

enum shm_msg_kind {
	SHM_MSG_HELLO, /* fds: ctl, bell, exports, eventfd */
	SHM_MSG_REPLY, /* fds: bell, exports, eventfd */
	SHM_MSG_REFUSE,
};

struct shm_msg {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint32_t len; /* of data */
	uint8_t data[DIPC_HELLO_MAX];
};

/* New zeroed memfd of LEN bytes, mapped. IS_OWNERS: others only read it. */
int shm_page_create(const char *name, size_t len, bool is_owners, int *fd_out,
		    void **map_out);
/* Map a peer's page; -EPROTO unless it is a memfd that cannot shrink. */
int shm_page_map(int fd, size_t len, int prot, void **map_out);

/* Bound and listening, mode 0600. -EADDRINUSE when a live one is there. */
int shm_sock_listen(const char *path, int *fd_out, dev_t *dev_out,
		    ino_t *ino_out);
int shm_sock_connect(const char *path, int *fd_out);
/* Refuses (-EACCES) peers of other users, and what cannot be seen from here. */
int shm_sock_peer(int fd, pid_t *pid_out);
int shm_sock_send(int fd, struct shm_msg *msg, const int *fds, unsigned nr_fds);
/* FDS (SHM_MSG_FDS) become the caller's. -EAGAIN, -EPIPE at the end. */
int shm_sock_recv(int fd, struct shm_msg *msg, int *fds, unsigned *nr_fds_out);

/* ---- shm_region.c ---- */
int shm_region_create(struct dipc_transport *base, const char *path, size_t len,
		      struct dipc_region **region_out);
void shm_region_destroy(struct dipc_region *base);
/* The LEN bytes of the peer at REMOTE; NULL: forbidden. Called in flight. */
uint8_t *shm_map_find(struct shm_conn *conn, struct dipc_remote remote,
		      size_t len);
/* Drop mappings of regions that the peer has destroyed. */
void shm_map_sweep(struct shm_conn *conn);
void shm_map_fini(struct shm_conn *conn);

/* ---- shm_conn.c ---- */
int shm_conn_connect(struct dipc_transport *base, const char *address,
		     const void *hello, size_t hello_len,
		     struct dipc_conn **conn_out);
void shm_conn_close(struct dipc_conn *base);
/* A new connection on the listening socket; owns SOCK. How many events. */
unsigned shm_conn_accept(struct shm_transport *t, int sock);
/* Its socket has news: handshake or end of file. How many events it made. */
unsigned shm_conn_readable(struct shm_conn *conn);
/* Everything that can go on. May free CONN. How many events, about BUDGET. */
unsigned shm_conn_progress(struct shm_conn *conn, unsigned budget);
/* No more operations, either way; REASON is for closed(). */
void shm_conn_break(struct shm_conn *conn, int reason);
/* Tell the peer's transport to look (WAKE_1). */
void shm_conn_ring(struct shm_conn *conn);
void shm_conn_free(struct shm_conn *conn);

/* ---- shm_op.c ---- */
int shm_conn_post(struct dipc_conn *base, const struct dipc_wr *wr, unsigned nr,
		  struct dipc_op *op);
/* Start what is pending, deliver what of it is done. How many events. */
unsigned shm_op_run(struct shm_conn *conn, unsigned budget);
/* Fail what is pending. How many events. */
unsigned shm_op_fail(struct shm_conn *conn, unsigned budget);
/* Deliver imms. IS_EMPTY_OUT: none is left. How many events. */
unsigned shm_ring_drain(struct shm_conn *conn, unsigned budget,
			bool *is_empty_out);

#endif
