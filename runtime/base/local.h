/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client process and its node's dipcd share: a Unix socket
 * (SOCK_SEQPACKET) for whatever carries a descriptor, and an area of request
 * slots for everything else.
 *
 * The area is one memfd per connection, made by dipcd, mapped by both. dipcd
 * trusts nothing in it: it copies a request out once and checks the copy.
 *
 * A slot's life (who stores the next state):
 *   FREE -> CLAIMED (client) -> POSTED (client) -> RUNNING (dipcd)
 *        -> DONE (dipcd) -> FREE (client)
 *
 * LOCAL_POST   client: slot filled, then state = POSTED, the slot's bit in
 *              `posted`, and `has_posted`, all RELEASE; dipcd exchanges
 *              `has_posted` first, then `posted`, with ACQUIRE.
 * LOCAL_SLEEP  client: after LOCAL_POST a seq_cst fence, then reads
 *              engine->is_asleep; if set, writes 1 to the wake eventfd. dipcd:
 *              sets is_asleep, seq_cst fence, reads every `has_posted` again,
 *              and only then sleeps.
 * LOCAL_DONE   dipcd: answer filled, then state = DONE with RELEASE, then a
 *              futex wake if `is_waiting`. The client reads state ACQUIRE.
 */
#ifndef DIPC_BASE_LOCAL_H
#define DIPC_BASE_LOCAL_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/policy.h"
#include "runtime/base/page_counters.h"

#define DIPC_LOCAL_MAGIC   0x64697063u /* "dipc" */
#define DIPC_LOCAL_VERSION 2u

#define DIPC_SLOTS        1024u         /* calls of one process at a time */
#define DIPC_SLOT_PAYLOAD (64u * 1024u) /* a SETALL of 32,000 semaphores */

/*
 * payload_len of a request whose payload lay behind a bad pointer: -EFAULT,
 * if nothing is wrong that the kernel would have seen before it looked there.
 */
#define DIPC_PAYLOAD_FAULT UINT32_MAX

/* semop's timeout_ns */
#define DIPC_TIMEOUT_NONE UINT64_MAX
#define DIPC_TIMEOUT_BAD  (UINT64_MAX - 1) /* no time: -EINVAL, but late */

enum dipc_kind {
	DIPC_KIND_NONE,
	DIPC_KIND_SHM,
	DIPC_KIND_SEM,
	DIPC_KIND_MSG,
};

/*
 * Identifiers given to programs: the mark that tells them from the kernel's,
 * the slot's generation, the slot. 31 bits, never negative.
 */
#define DIPC_ID_MARK      0x40000000u
#define DIPC_ID_SLOT_BITS 18u
#define DIPC_ID_GEN_BITS  12u

static inline int32_t dipc_id_make(uint32_t slot, uint32_t gen)
{
	return (int32_t)(DIPC_ID_MARK |
			 (gen & ((1u << DIPC_ID_GEN_BITS) - 1))
				 << DIPC_ID_SLOT_BITS |
			 (slot & ((1u << DIPC_ID_SLOT_BITS) - 1)));
}

static inline uint32_t dipc_id_slot(int32_t id)
{
	return (uint32_t)id & ((1u << DIPC_ID_SLOT_BITS) - 1);
}

static inline uint32_t dipc_id_gen(int32_t id)
{
	return (uint32_t)id >> DIPC_ID_SLOT_BITS &
	       ((1u << DIPC_ID_GEN_BITS) - 1);
}

/* ---- request slots ------------------------------------------------------ */

enum dipc_local_call {
	DIPC_CALL_SHMGET = 1, /* get */
	DIPC_CALL_SHMCTL,     /* ctl; payload: struct shmid64 image below */
	DIPC_CALL_SEMGET,
	DIPC_CALL_SEMOP,  /* semop; payload: struct sembuf[nr] */
	DIPC_CALL_SEMCTL, /* ctl; payload: unsigned short[] or struct */
	DIPC_CALL_MSGGET,
	DIPC_CALL_MSGSND, /* msg; payload: text */
	DIPC_CALL_MSGRCV, /* msg; payload: text, answer */
	DIPC_CALL_MSGCTL,
	DIPC_CALL_LS,     /* admin: payload answer: struct dipc_ls_row[];
			     ctl.num is the slot to go on from, ctl.cmd the
			     kind wanted, 0 all; the answer's value: the next
			     slot, or 0 at the end */
	DIPC_CALL_STATUS, /* admin: payload answer: struct dipc_status */

	/* The whole system, as *_INFO shows it: ctl.num a kind, ctl.cmd not 0:
	   with what takes a walk over all objects, too. Payload answer: struct
	   dipc_info. */
	DIPC_CALL_INFO = 20,
	/* *_STAT and *_STAT_ANY (ctl.cmd) of kind ctl.num at the index, or
	   with the identifier, ctl.id. Payload answer: struct dipc_stat; value:
	   the identifier. */
	DIPC_CALL_STAT_INDEX,
	/* ctl.cmd is a DIPC_LOCAL_PID_*, ctl.num the semaphore. Answer:
	   node << 32 | pid */
	DIPC_CALL_PID_NODE = 30,

	/* docs/design/futex.md */
	DIPC_CALL_FUTEX_REGISTER = 40, /* futex; answer: a ticket */
	/*
	 * futex_wait: 0 woken, -ETIMEDOUT, -EINTR. The ticket is used up,
	 * but for a timeout with `keeps_ticket`. -ENOENT: no such ticket of
	 * this connection.
	 */
	DIPC_CALL_FUTEX_SLEEP,
	DIPC_CALL_FUTEX_WITHDRAW, /* futex_wait; 1: it had been woken */
	DIPC_CALL_FUTEX_WAKE,     /* futex; answer: how many */
	DIPC_CALL_OWNER_SELF,     /* owner: tid; answer: a name, as below */
	DIPC_CALL_OWNER_ALIVE,    /* owner: owner; 1 or 0 */

	/* answered when every detach so far is counted for all nodes */
	DIPC_CALL_SHM_SETTLE = 50,

	/*
	 * fault: from a SIGBUS handler, docs/design/faults.md. 0: let the
	 * instruction try again; -EFAULT: the page is lost; -ESRCH: nothing of
	 * a segment is there in this process, as far as dipcd knows.
	 */
	DIPC_CALL_FAULT = 75,

	/*
	 * admin: pages: what this node counts of the segments that it has open.
	 * Payload answer: struct dipc_page_stat[]; ctl.num is where to go on
	 * from, 0 at first; the answer's value: where next, or 0 at the end. The
	 * first of all, with id 0, is the node's sum. One that is opened or
	 * released meanwhile may be missing.
	 */
	DIPC_CALL_PAGES = 65,

	/*
	 * pages: of a segment that the process has attached. PREFETCH: 0 when
	 * they are here, -EACCES: to write, but attached read-only; RELEASE:
	 * when they are given up. -EFAULT: not attached, or no such pages;
	 * -EIO: one is lost.
	 */
	DIPC_CALL_PREFETCH = 70,
	DIPC_CALL_RELEASE,
};

/* pages.flags of DIPC_CALL_PREFETCH; the first as in dipc.h */
#define DIPC_LOCAL_PREFETCH_WRITE 1u
#define DIPC_LOCAL_PREFETCH_START 2u /* answered when it has begun */

/* As DIPC_PID_* of dipc.h. */
enum dipc_local_pid {
	DIPC_LOCAL_PID_SHM_CREATOR = 1,
	DIPC_LOCAL_PID_SHM_LAST,
	DIPC_LOCAL_PID_MSG_SENDER,
	DIPC_LOCAL_PID_MSG_RECEIVER,
	DIPC_LOCAL_PID_SEM,
};

/* cmd values are the kernel's IPC_*, SHM_*, SEM_*, MSG_* and SETVAL etc. */
union dipc_call_args {
	struct {
		int32_t key;
		int32_t flags;             /* as the program gave them */
		uint64_t size;             /* bytes; semget: nsems */
		struct dipc_policy policy; /* shmget */
	} get;
	struct {
		int32_t id;
		int32_t cmd;
		int32_t num;   /* semnum */
		int32_t value; /* SETVAL */
	} ctl;
	struct {
		int32_t id;
		uint32_t nr;
		uint64_t timeout_ns; /* or DIPC_TIMEOUT_* */
	} semop;
	struct {
		int32_t id;
		int32_t flags;
		int64_t type;
		uint64_t size; /* bytes of text, without the type */
	} msg;
	struct {
		int32_t id;  /* of the segment */
		uint32_t nr; /* to wake */
		uint64_t off;
		uint32_t bitset;
	} futex;
	struct {
		uint64_t ticket;
		uint64_t timeout_ns; /* or DIPC_TIMEOUT_NONE */
		uint32_t keeps_ticket;
	} futex_wait;
	struct {
		uint64_t owner;
		uint32_t tid;
	} owner;
	struct {
		int32_t id;
		uint32_t flags;
		uint64_t first, nr;
	} pages;
	struct {
		uint64_t addr;
		uint32_t is_write;
	} fault;
};

/*
 * A thread's name, DIPC_CALL_OWNER_*: node, thread id, and two hashes that
 * tell it from later ones with that id (node/owner.c). Bit 63 is 0. Node 0:
 * made without dipcd, nobody can be asked.
 */
#define DIPC_OWNER_NODE_BITS  6u
#define DIPC_OWNER_TID_BITS   22u
#define DIPC_OWNER_START_BITS 19u
#define DIPC_OWNER_IMAGE_BITS 16u

static_assert(DIPC_OWNER_NODE_BITS + DIPC_OWNER_TID_BITS +
			      DIPC_OWNER_START_BITS + DIPC_OWNER_IMAGE_BITS ==
		      63,
	      "an owner's name");

enum dipc_slot_state {
	DIPC_SLOT_FREE,
	DIPC_SLOT_CLAIMED,
	DIPC_SLOT_POSTED,
	DIPC_SLOT_RUNNING,
	DIPC_SLOT_DONE,
};

struct dipc_slot {
	_Atomic uint32_t state;      /* futex; enum dipc_slot_state */
	_Atomic uint32_t is_waiting; /* client sleeps on `state` */
	/*
	 * A signal came: give up the blocked call. Set by the client with the
	 * slot's bit in `posted` again; dipcd answers -EINTR, or the result if
	 * the call was completed first.
	 */
	_Atomic uint32_t must_cancel;
	uint32_t call; /* enum dipc_local_call */
	union dipc_call_args args;
	/* answer */
	int64_t result;       /* >= 0, or -errno */
	int64_t type;         /* msgrcv */
	uint32_t payload_len; /* bytes of payload: request, then answer */
	uint32_t tid;
	uint8_t reserved[64];
};

static_assert(sizeof(struct dipc_slot) == 128, "local layout");

struct dipc_area {
	_Atomic uint64_t posted[DIPC_SLOTS / 64];
	/* dipcd has let go of this connection (a program that closes every
	   descriptor does that to itself): connect again */
	_Atomic uint64_t is_closed;
	/* look at `posted`: of a thousand idle clients dipcd reads this alone */
	_Atomic uint64_t has_posted;
	uint8_t reserved[4096 - 8 * (DIPC_SLOTS / 64) - 16];
	struct dipc_slot slot[DIPC_SLOTS];
	uint8_t payload[DIPC_SLOTS][DIPC_SLOT_PAYLOAD];
};

static_assert(offsetof(struct dipc_area, payload) % 4096 == 0, "local layout");

/* LOCAL_POST, its second half; then the bell, as LOCAL_SLEEP says. */
static inline void dipc_area_post(struct dipc_area *area, unsigned slot)
{
	atomic_fetch_or_explicit(&area->posted[slot / 64], 1ull << slot % 64,
				 memory_order_release);
	atomic_store_explicit(&area->has_posted, 1, memory_order_release);
}

/* One page of the engine's, mapped read-only by every client. */
struct dipc_engine_page {
	uint32_t magic;
	uint32_t version;
	_Atomic uint32_t is_asleep; /* see LOCAL_SLEEP */
	_Atomic uint32_t spin_ns;   /* how long a client should spin */
	_Atomic uint64_t heartbeat; /* keeper: moves while the engine lives */
	_Atomic uint64_t generation;
};

/* ---- socket messages ---------------------------------------------------- */

enum dipc_sock_type {
	/* -> ; answer with fds: area, engine page, wake eventfd, and, if dipcd
	   could open it, /dev/userfaultfd (flag below) */
	DIPC_SOCK_HELLO = 1,
	/*
	 * -> with the fd of a new userfaultfd of this process. addr: a page,
	 * present, that the child of a fork writes first of all. That fault
	 * tells who it is, as the kernel sees it.
	 */
	DIPC_SOCK_FAULTS,
	/* -> id, flags (shmat's). Answer: status, size, and the fd to map. */
	DIPC_SOCK_ATTACH,
	/*
	 * -> addr, size, id, flags: the segment is mapped there, PROT_NONE.
	 * Answered when faults there are served: only then mprotect.
	 */
	DIPC_SOCK_MAPPED,
	/* -> id: what ATTACH gave was not mapped after all. Answered. */
	DIPC_SOCK_NOT_MAPPED = 10,
	/*
	 * -> addr: a tag. This process is the child of a fork, and what it has
	 * of its parent's userfaultfd is the one that dipcd gave this tag, in a
	 * page that only the child can read. Answered: 0, or -ESRCH.
	 */
	DIPC_SOCK_FAULTS_TAG = 35,
};

/*
 * dipcd listens under a name outside the file system, too: a process that has
 * connected once may since be in a chroot, or have become a user who may not
 * look at the path. Only who has connected knows the number.
 */
#define DIPC_LOCAL_NAME "dipcd-%016llx"

#define DIPC_SOCK_HAS_UFFD_DEV 1u /* hello's answer: flags */
/*
 * FAULTS: flags. Faults raise SIGBUS in the thread, which posts them itself.
 * addr is a page, absent in it and in its children, for the children's tags.
 */
#define DIPC_SOCK_BY_SIGNAL 1

struct dipc_sock_msg {
	uint32_t magic;
	uint32_t version;
	uint32_t type;
	int32_t status; /* answers: 0 or -errno */
	int32_t id;
	int32_t flags;
	uint64_t
		addr; /* hello's answer: the number in DIPC_LOCAL_NAME, 0: none */
	uint64_t size;
	uint32_t node; /* hello's answer: which node this is */
	uint32_t reserved;
};

static_assert(sizeof(struct dipc_sock_msg) == 48, "local layout");

/* ---- results ------------------------------------------------------------ */

/* The answer of *_STAT and the argument of IPC_SET, one shape for all kinds. */
struct dipc_stat {
	int32_t key;
	int32_t id;
	uint32_t uid, gid, cuid, cgid;
	uint32_t mode; /* low 9 bits, and SHM_DEST, SHM_LOCKED */
	uint32_t seq;
	int64_t ctime;  /* seconds since 1970, as all times here */
	int64_t time1;  /* shm atime, sem otime, msg stime */
	int64_t time2;  /* shm dtime, msg rtime */
	uint64_t size;  /* shm segsz, sem nsems, msg qbytes */
	uint64_t count; /* shm nattch, msg qnum */
	uint64_t bytes; /* msg cbytes */
	int32_t pid1;   /* shm cpid, msg lspid */
	int32_t pid2;   /* shm lpid, msg lrpid */
	uint32_t node1; /* of pid1; 0: nobody yet */
	uint32_t node2;
};

static_assert(sizeof(struct dipc_stat) == 96, "local layout");

struct dipc_ls_row {
	struct dipc_stat stat;
	uint32_t kind; /* enum dipc_kind */
	uint32_t home; /* node, the first of them; 0: the referee */
	/* segments */
	uint64_t rss;   /* bytes that are on this node */
	uint64_t homes; /* bits (node - 1) */
	uint32_t block_chunks, unit_pages;
};

static_assert(sizeof(struct dipc_ls_row) == 128, "local layout");

/* An index is an object's slot in the arena, whatever its kind. */
struct dipc_info {
	uint64_t shmmax, shmall; /* bytes, pages */
	uint32_t shmmni;
	uint32_t semmsl, semmns, semopm, semmni;
	uint32_t msgmax, msgmnb, msgmni;
	uint64_t max_index; /* the highest in use; 0 also when none is */
	uint64_t nr;        /* objects */
	uint64_t total;     /* segments: pages; sets: semaphores */
	/* with the walk; segments: pages on this node; queues: messages, and
	   bytes of text */
	uint64_t rss, qnum, cbytes;
};

static_assert(sizeof(struct dipc_info) == 96, "local layout");

/* What one node counts of one segment, or (id 0) of all since its start. */
struct dipc_page_stat {
	int32_t id;
	uint32_t home;
	uint64_t size;     /* bytes */
	uint64_t resident; /* bytes that are on this node */
	struct dipc_page_counters counters;
	/* most first; of a segment */
	struct dipc_page_rank missed[DIPC_PAGES_RANKED];
	struct dipc_page_rank taken[DIPC_PAGES_RANKED];
};

struct dipc_status {
	uint32_t node;
	uint32_t nr_nodes; /* alive, as the referee's table says */
	uint64_t epoch;
	uint64_t tcp_tx_bytes, tcp_rx_bytes; /* this node's, with the referee */
	uint64_t nr_reads, nr_writes, nr_atomics, nr_imms;
	uint64_t nr_faults, nr_fills, nr_invalidations;
	char transport[16];
	char address[128];
	char referee[128];
};

#endif
