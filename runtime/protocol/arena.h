/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arena: the registered memory, owned by the referee, in which every
 * object of the cluster lives. The layout is the protocol; docs/design/arena.md
 * explains it field by field. Little endian, fixed width, offsets only (0 is
 * "none"), never pointers.
 *
 * Marks: [atomic] changed only by RDMA CAS and FAA, by the referee too.
 *        [lock]   written by the holder of the object's lock.
 *        [once]   written by the referee before the object can be found.
 *        [any]    plain 8-byte writes, the last one wins.
 */
#ifndef DIPC_PROTOCOL_ARENA_H
#define DIPC_PROTOCOL_ARENA_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/local.h"

#define DIPC_ARENA_MAGIC   0x414e455241435049ull /* "IPCARENA" */
#define DIPC_ARENA_VERSION 3u

#define DIPC_NODES_MAX        40u /* ids 1..40; 0 is the referee */
#define DIPC_WAITERS_PER_NODE 1024u
#define DIPC_POOL_CLASSES     3u

/* ---- the first page ----------------------------------------------------- */

/* Message blocks of one size, see pool.h. */
struct dipc_arena_pool {
	uint64_t head;       /* [atomic] batch list: tag << 40 | offset */
	uint64_t bump;       /* [atomic] first byte never handed out */
	uint64_t end;        /* [once] */
	uint32_t block_size; /* [once] header included */
	uint32_t batch;      /* [once] blocks in a batch */
};

/*
 * What there is of a kind, for who asks for the whole system's numbers. The
 * referee's CPU stores each as one 8-byte word; a READ is a hint.
 */
struct dipc_arena_usage {
	uint64_t nr;    /* objects */
	uint64_t total; /* pages, semaphores; queues: 0 */
	uint64_t top;   /* no object of the kind is in this slot or above */
};

struct dipc_arena_super {
	uint64_t magic;
	uint32_t version;
	uint32_t nr_slots;
	uint64_t size;
	uint64_t generation; /* starts of a referee on this arena */
	uint64_t epoch;      /* [atomic] membership changes */
	uint64_t nodes_off;
	uint64_t slots_off;
	uint64_t waiters_off;
	uint64_t body_off; /* semaphore words; the referee's allocator */
	uint64_t body_end;
	uint32_t msgmax; /* limits, as dipc.conf of the referee gives them */
	uint32_t msgmnb;
	uint32_t semmsl;
	uint32_t semopm;
	uint64_t shmmax;
	struct dipc_arena_pool pool[DIPC_POOL_CLASSES];
	uint64_t shmall; /* pages */
	uint32_t shmmni;
	uint32_t semmni;
	uint32_t semmns;
	uint32_t msgmni;
	uint64_t nr_opened;               /* slots ever used, as usage is */
	struct dipc_arena_usage usage[4]; /* by enum dipc_kind */
};

static_assert(sizeof(struct dipc_arena_super) <= 4096, "arena layout");

/* ---- nodes -------------------------------------------------------------- */

enum dipc_node_state {
	DIPC_NODE_FREE,
	DIPC_NODE_ALIVE,
	DIPC_NODE_LEFT, /* said good-bye */
	DIPC_NODE_DEAD, /* evicted */
};

struct dipc_arena_node {
	uint64_t state;     /* enum dipc_node_state << 32 | incarnation; the
			       referee writes it, nodes READ it */
	uint64_t heartbeat; /* [any] the node's, counts up */
	/* the referee's CPU counts segments at home there that it has freed:
	   only then is it worth the home's while to look */
	uint64_t homes_freed;
	uint64_t reserved[5];
	char address[128]; /* dipc_transport_address, NUL padded */
	char name[64];     /* host name, for people */
};

static_assert(sizeof(struct dipc_arena_node) == 256, "arena layout");

/* ---- processes ---------------------------------------------------------- */

/*
 * A process is named by node << 22 | pid: Linux has pids of 22 bits at most, and
 * they mean something on their node only. 0: nobody yet.
 */
#define DIPC_WHO_PID_BITS 22
#define DIPC_WHO_BITS     28

static_assert(DIPC_NODES_MAX < 1u << (DIPC_WHO_BITS - DIPC_WHO_PID_BITS),
	      "arena layout");

static inline uint32_t dipc_who(unsigned node, uint32_t pid)
{
	return (uint32_t)node << DIPC_WHO_PID_BITS |
	       (pid & ((1u << DIPC_WHO_PID_BITS) - 1));
}

static inline uint32_t dipc_who_pid(uint32_t who)
{
	return who & ((1u << DIPC_WHO_PID_BITS) - 1);
}

static inline unsigned dipc_who_node(uint32_t who)
{
	return who >> DIPC_WHO_PID_BITS;
}

/* ---- objects ------------------------------------------------------------ */

#define DIPC_OBJECT_REMOVED (1ull << 63) /* in `state`: IPC_RMID was done */
#define DIPC_MODE_LOCKED    02000u       /* SHM_LOCKED */

struct dipc_arena_shm {
	uint64_t size;         /* [once] bytes */
	uint64_t nattch;       /* [atomic] attachments over the cluster */
	uint64_t atime, dtime; /* [any] */
	uint64_t pids;         /* [any] who made it | who came last << 32 */
	uint64_t homes;        /* [once] bit n-1: node n is one of its homes */
	uint32_t home;         /* [once] the first of them: a node */
	uint32_t block_chunks; /* [once] chunks in a row at one home */
	/* [once] the last incarnation given out before: a node with a later one
	   is not the home that was meant */
	uint32_t born;
	uint32_t unit_pages; /* [once] the transfer unit; a power of two */
	uint32_t nr_pages;   /* [once] */
	/* [once] words of sharers in each of the directory's entries, 0: the
	   narrow word */
	uint32_t nr_sharer_words;
	/*
	 * [atomic] nodes whose engine may touch the home's memory: longer than
	 * nattch, since modified pages go home after the last shmdt. A removed
	 * segment is freed when both are 0.
	 */
	uint64_t opens;
};

static_assert(sizeof(struct dipc_arena_shm) == 80, "arena layout");

/* A segment is smaller, in bytes: its pages are counted in 32 bits. */
#define DIPC_SHM_SIZE_MAX (1ull << 44)
/* Words of sharers in an entry, at most: for 1,024 nodes. */
#define DIPC_SHM_SHARER_WORDS_MAX 16u
/* Pages that are at home together: 2 MiB. */
#define DIPC_CHUNK_PAGES 512u

static inline bool dipc_shm_is_home(const struct dipc_arena_shm *shm,
				    unsigned node)
{
	return node <= DIPC_NODES_MAX && shm->homes >> (node - 1) & 1;
}

/* The home of CHUNK: blocks of chunks go round the homes from the first on. */
static inline unsigned dipc_shm_home_of(const struct dipc_arena_shm *shm,
					uint64_t chunk)
{
	/* homes from the first upward, then those below it */
	uint64_t set = shm->homes >> (shm->home - 1) << (shm->home - 1);
	uint64_t rest = shm->homes & ~set;
	uint64_t n, nr = 0, bits;

	for (bits = shm->homes; bits; bits &= bits - 1)
		nr++;
	for (n = chunk / shm->block_chunks % nr; n; n--) {
		set &= set - 1;
		if (!set)
			set = rest;
	}
	return (unsigned)__builtin_ctzll(set) + 1;
}

/* May SHM, which came from elsewhere, be used with what is above? */
static inline bool dipc_shm_is_sane(const struct dipc_arena_shm *shm)
{
	return shm->size && shm->size < DIPC_SHM_SIZE_MAX &&
	       shm->block_chunks && shm->unit_pages &&
	       shm->nr_sharer_words <= DIPC_SHM_SHARER_WORDS_MAX &&
	       shm->homes >> DIPC_NODES_MAX == 0 && shm->home >= 1 &&
	       shm->home <= DIPC_NODES_MAX && dipc_shm_is_home(shm, shm->home);
}

struct dipc_arena_sem {
	uint64_t words;      /* [once] offset of uint64_t[nr] */
	uint64_t redo_area;  /* [once] two dipc_arena_redo of nr entries each */
	uint32_t nr;         /* [once] */
	uint32_t undo_epoch; /* [lock] 31 bits: SETVALs and SETALLs so far */
	uint64_t otime;      /* [atomic] of the last operation: it only grows */
	uint64_t redo;       /* [lock] the valid one of the two, 0: none */
	/* the queue: read and written as one; `next` is the truth, see sem.md
	 */
	uint64_t first, last; /* [lock] waiters, offsets */
	uint32_t nr_waiters;  /* [lock] */
	uint32_t nr_complex;  /* [lock] of them: several ops, or a zero one */
};

static_assert(sizeof(struct dipc_arena_sem) == 64, "arena layout");

/* What is needed of the first blocked receiver to complete it: msg.md. */
struct dipc_arena_wish {
	uint64_t state; /* its record's, pending; 0: read the record */
	uint64_t next;  /* as in its record */
	int64_t type;
	uint32_t room;
	uint32_t pid;
	uint16_t node, index;
	uint32_t flags;
};

static_assert(sizeof(struct dipc_arena_wish) == 40, "arena layout");

/*
 * WRITTEN as one. The truth are `first`, `rcv_first`, `snd_first` and the
 * `next` of what they lead to, an 8-byte word each; all else follows from it.
 */
struct dipc_arena_msg {
	uint64_t first, last;         /* [lock] messages, offsets */
	uint64_t cbytes;              /* [lock] */
	uint32_t qnum;                /* [lock] */
	uint32_t qbytes;              /* [lock] */
	uint64_t rcv_first, rcv_last; /* [lock] blocked receivers */
	uint64_t snd_first, snd_last; /* [lock] blocked senders */
	uint64_t stime, rtime;        /* [lock] */
	uint32_t lspid, lrpid;        /* [lock] who */
	uint32_t first_len; /* [lock] bytes of text of `first`, so that one
			       READ of the right length brings it */
	uint32_t snd_min;   /* [lock] no blocked sender has less text */
	uint32_t snd_max;   /* [lock] nor more */
	uint32_t nr_sets;   /* [lock] IPC_SETs: who was allowed before one asks
			       again */
	int64_t first_type; /* [lock] of `first` */
	struct dipc_arena_wish wish; /* [lock] of rcv_first */
};

static_assert(sizeof(struct dipc_arena_msg) == 152, "arena layout");

/*
 * state: [atomic] REMOVED | kind << 32 | generation. The referee sets it when
 * the object is ready to be found; 0: free slot. An identifier names slot and
 * generation (runtime/base/local.h).
 */
struct dipc_arena_object {
	uint64_t state;
	uint64_t lock;       /* [atomic] 0, or who holds it, see object.h */
	int32_t key;         /* [once] */
	int32_t id;          /* [once] */
	uint32_t uid, gid;   /* [lock] */
	uint32_t cuid, cgid; /* [once] */
	uint32_t mode;       /* [lock] 9 bits, DIPC_MODE_LOCKED */
	uint32_t seq;
	uint64_t ctime; /* [lock] */
	/* [atomic] bits of nodes, 1 << id; semaphore sets, see sem.md */
	uint64_t users;   /* may believe for a while what they READ here */
	uint64_t undoers; /* may hold adjustments of SEM_UNDO */
	uint64_t reserved[1];
	union {
		struct dipc_arena_shm shm;
		struct dipc_arena_sem sem;
		struct dipc_arena_msg msg;
		uint8_t body[160];
	};
};

static_assert(sizeof(struct dipc_arena_object) == 240, "arena layout");
#define DIPC_OBJECT_STRIDE 256u

/* ---- semaphore words ---------------------------------------------------- */

/*
 * [atomic] One 8-byte word a semaphore:
 *  bits 0-14 value, 15 frozen, 16 waiters, 17-44 who did the last operation,
 *  45-50 node and 51-63 sequence: the stamp of the CAS that wrote the word.
 */
#define DIPC_SEM_VALUE      0x7fffull
#define DIPC_SEM_FROZEN     (1ull << 15)
#define DIPC_SEM_WAITERS    (1ull << 16)
#define DIPC_SEM_WHO_SHIFT  17
#define DIPC_SEM_NODE_SHIFT 45
#define DIPC_SEM_SEQ_SHIFT  51
#define DIPC_SEM_SEQ_BITS   13

static_assert(DIPC_SEM_WHO_SHIFT + DIPC_WHO_BITS == DIPC_SEM_NODE_SHIFT &&
		      DIPC_NODES_MAX < 1u << (DIPC_SEM_SEQ_SHIFT -
					      DIPC_SEM_NODE_SHIFT) &&
		      DIPC_SEM_SEQ_SHIFT + DIPC_SEM_SEQ_BITS == 64,
	      "arena layout");

/* In a new set: value 0, this stamp of node 0, so that no word is ever 0. */
static inline uint64_t dipc_sem_word_initial(uint32_t generation)
{
	return (uint64_t)((generation & 0xfffu) << 1 | 1) << DIPC_SEM_SEQ_SHIFT;
}

/*
 * What the holder of a set's lock is about to do, written before it is done,
 * valid while the object's lock word is `lock`; see sem.md. The entries apply
 * if there is no waiter, or if the waiter's record has become `done`.
 */
struct dipc_arena_redo_entry {
	uint64_t word; /* offset */
	uint64_t old_word, new_word;
};

struct dipc_arena_redo {
	uint64_t lock;
	uint64_t waiter;        /* offset, 0: none */
	uint64_t pending, done; /* its states before and after */
	uint32_t nr;
	uint32_t reserved;
	struct dipc_arena_redo_entry entry[];
};

static_assert(sizeof(struct dipc_arena_redo_entry) == 24, "arena layout");
static_assert(sizeof(struct dipc_arena_redo) == 40, "arena layout");

/* Bytes of a set in the body: its words, then its two redo records. */
static inline uint64_t dipc_sem_body_size(uint32_t nr)
{
	return 8ull * nr +
	       2 * (sizeof(struct dipc_arena_redo) +
		    (uint64_t)nr * sizeof(struct dipc_arena_redo_entry));
}

/* ---- waiters ------------------------------------------------------------ */

enum dipc_waiter_status {
	DIPC_WAITER_FREE,
	DIPC_WAITER_PENDING,
	DIPC_WAITER_DONE,      /* result says how */
	DIPC_WAITER_CANCELLED, /* by its own node: timeout, signal, death */
};

#define DIPC_WAITER_OPS 64u

struct dipc_arena_sembuf {
	uint16_t num;
	int16_t op;
	int16_t flags;
};

/*
 * A blocked call. Its node owns the record, fills it and frees it; whoever
 * makes the call possible turns `state` from PENDING to DONE; timeout, signal
 * and death turn it to CANCELLED: one CAS wins.
 * state: [atomic] status | sequence << 8 (24 bits) | result << 32 (int32).
 * While the record is in no list its owner alone uses it, and WRITES all of it.
 */
struct dipc_arena_waiter {
	uint64_t state;
	uint64_t next, prev; /* [lock] of the object: its list */
	int32_t id;          /* the object; as all below, filled by the owner
				before the record is linked */
	uint16_t node;
	uint16_t index; /* in the node's table: what a wake-up carries */
	uint32_t pid;
	uint32_t nr_ops; /* semop; 0: a message call */
	int64_t type;    /* msgrcv: wanted; msgsnd: the message's */
	uint64_t size;   /* msgrcv: room, UINT32_MAX with MSG_NOERROR;
			    msgsnd: length */
	uint32_t
		flags; /* msgrcv: MSG_EXCEPT. msgsnd: nr_sets. semop: 1 + the operation that
			       is -ERANGE when its turn comes; 0: none */
	uint32_t is_linked; /* [lock] 0: whoever unlinked it */
	uint64_t msg;       /* msgsnd: the message; a msgrcv's is named by its
			       result */
	uint64_t more_ops;  /* nr_ops > DIPC_WAITER_OPS: another record of this
			      node, whose ops[] (and more_ops) go on */
	struct dipc_arena_sembuf ops[DIPC_WAITER_OPS];
	uint8_t pad[48];
};

static_assert(sizeof(struct dipc_arena_waiter) == 512, "arena layout");

/* ---- messages ----------------------------------------------------------- */

/* Blocks begin at multiples of this, so that 31 bits name one. */
#define DIPC_BLOCK_GRAIN 256u

/* A message, at the start of its block. */
struct dipc_arena_message {
	uint64_t next;     /* [lock] 0: the last one */
	int64_t next_type; /* [lock] of `next`, as is next_len */
	uint32_t next_len;
	uint32_t len; /* bytes of text */
	int64_t type;
	uint32_t pid;
	uint16_t node;
	uint16_t pool_class;
	uint64_t reserved[3];
	uint8_t text[];
};

static_assert(sizeof(struct dipc_arena_message) == 64, "arena layout");

/* A batch of free blocks, at the start of the first of them. */
struct dipc_arena_batch {
	uint64_t next; /* batch, 0: the last one */
	uint32_t nr;
	uint32_t reserved;
	uint32_t block[]; /* offset / DIPC_BLOCK_GRAIN; [0] is this one */
};

static_assert(sizeof(struct dipc_arena_batch) == 16, "arena layout");

#endif
