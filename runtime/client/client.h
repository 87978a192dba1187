/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client library's own pieces. Inside, functions return 0 or more, or
 * -errno; only the interposed symbols turn that into -1 and errno
 * (boundary.c). README.md has what fork, dlopen and re-entry mean here.
 */
#ifndef DIPC_CLIENT_CLIENT_H
#define DIPC_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "runtime/base/local.h"

/* Everything is hidden but the interposed symbols, which the map lists too. */
#define DIPC_EXPORT __attribute__((visibility("default")))

struct sembuf;
struct timespec;
struct shmid_ds;
struct msqid_ds;

/* ---- real.c: the functions we stand in front of -------------------------- */

struct dipc_real {
	int (*shmget)(key_t, size_t, int);
	void *(*shmat)(int, const void *, int);
	int (*shmdt)(const void *);
	int (*shmctl)(int, int, struct shmid_ds *);
	int (*semget)(key_t, int, int);
	int (*semop)(int, struct sembuf *, size_t);
	int (*semtimedop)(int, struct sembuf *, size_t,
			  const struct timespec *);
	int (*semctl)(int, int, int, ...);
	int (*msgget)(key_t, int);
	int (*msgsnd)(int, const void *, size_t, int);
	ssize_t (*msgrcv)(int, void *, size_t, long, int);
	int (*msgctl)(int, int, struct msqid_ds *);
};

const struct dipc_real *dipc_real(void);

/* ---- keys.c ------------------------------------------------------------- */

/* Is an object asked for with KEY and FLAGS to be distributed? */
bool dipc_keys_match(key_t key, int flags, bool is_shm);

/* Is every object to be, whatever its key? */
bool dipc_keys_are_all(void);

/* ---- conn.c: this process's connection to dipcd -------------------------- */

/*
 * Where calls on distributed objects go, decided at the first one and kept:
 * 1 dipcd; 0 the kernel (no dipcd on this machine); -ENOLINK dipcd is there
 * but does not answer (said once on stderr).
 */
int dipc_conn_use(void);

/*
 * The calling thread, or with IS_EVERYBODY all of them, may have become
 * somebody else: dipcd is told at the next call, by a new connection. Those of
 * an identity that cannot be had back end, each with the last call through it.
 */
void dipc_conn_identity_changed(bool is_everybody);

/* Has dipcd let go of the connection that AREA belongs to? */
static inline bool dipc_area_is_closed(struct dipc_area *area)
{
	return atomic_load_explicit(&area->is_closed, memory_order_acquire);
}

/*
 * One question and its answer on the socket. FD_IN: -1 or a descriptor to
 * send; *FD_OUT (may be NULL): the one that came, or -1. 0 or -errno; the
 * answer's status is the caller's to look at. Called with the lock held.
 */
int dipc_conn_ask(const struct dipc_sock_msg *question, int fd_in,
		  struct dipc_sock_msg *answer, int *fd_out);
/* Guards the socket and shm.c's table; held over fork. */
void dipc_conn_lock(void);
void dipc_conn_unlock(void);
/* This connection's userfaultfd has been handed over: do it once. With lock. */
int dipc_conn_need_faults(void);
/* The child of a fork: show dipcd the tags of tag.c. 0: one was news. */
int dipc_conn_show_tags(void);
/* One line on stderr; at most once for each WHAT (a string constant). */
void dipc_conn_complain(const char *what);

/* ---- slot.c: calls ------------------------------------------------------- */

struct dipc_slot_call {
	enum dipc_local_call call;
	union dipc_call_args args;
	const void *in; /* payload of the request, IN_LEN bytes */
	size_t in_len;
	void *out; /* where the answer's payload goes, room for OUT_MAX */
	size_t out_max;
	size_t out_len; /* answer */
	int64_t type;   /* answer of msgrcv */
	bool is_interruptible;
	bool is_cancel_point; /* of threads; dipc_slot_run() may not return */
	/* dipc_handlers_run() when the program called: one that has run since
	   ends the call too. 0: since the call has a slot. */
	uint32_t handlers;
	/*
	 * IN and OUT came from the program and may be bad. With a bad IN dipcd
	 * is asked all the same: it knows what else is wrong, and what of it
	 * the kernel would have seen first.
	 */
	bool is_users;
	bool has_type; /* OUT is a struct msgbuf: the type, then the text */
};

/* The call's result, or -errno (-ENOLINK: dipcd is gone). */
int64_t dipc_slot_run(struct dipc_slot_call *call);
/* The same from the SIGBUS handler, on any connection of the process. */
int64_t dipc_slot_fault(struct dipc_slot_call *call);

/*
 * TLS that a signal handler may be the first to touch: never allocated at
 * first use.
 */
#define DIPC_TLS_EARLY __attribute__((tls_model("initial-exec")))

/* Handlers that the thread has entered, counted round; never 0. Read it first
   of all: what runs before that is before the call. */
extern _Thread_local DIPC_TLS_EARLY uint32_t dipc_handlers;

static inline uint32_t dipc_handlers_run(void)
{
	return dipc_handlers;
}

/* ---- boundary.c ---------------------------------------------------------- */

/* The only place where -errno becomes errno. Leaves errno alone on success. */
long dipc_posix_ret(int64_t ret);
/* IPC_STAT into STAT, or IPC_SET from it, or IPC_RMID (STAT NULL). */
int64_t dipc_ctl(enum dipc_local_call call, int id, int cmd,
		 struct dipc_stat *stat);

/* ---- ids.c: whose an identifier is --------------------------------------- */

/*
 * Is ID, of KIND, one of dipcd's? Kernel identifiers never are; with no dipcd
 * nothing is. -ENOLINK as dipc_conn_use().
 */
int dipc_id_is_ours(enum dipc_kind kind, int id);
/*
 * A *get call: the identifier or -errno; after dipc_conn_use() gave 1. POLICY:
 * of a segment; NULL: nothing is said.
 */
int64_t dipc_get(enum dipc_kind kind, key_t key, uint64_t size, int flags,
		 const struct dipc_policy *policy);
/* The kernel's: -1 and errno. An identifier that looks like ours is noted. */
int dipc_get_kernel(enum dipc_kind kind, key_t key, uint64_t size, int flags);

/* ---- attach.c ------------------------------------------------------------ */

/*
 * Wait until what this process has unmapped is counted. As in Linux: when
 * shmdt or munmap returns, shm_nattch says so to processes anywhere.
 */
void dipc_detach_settle(void);

/* ---- info.c: what a program sees of the whole system ---------------------- */

/*
 * As dipc_id_is_ours(), for ID and CMD of shmctl, semctl or msgctl: the
 * commands of info.c do not need one of our identifiers.
 */
int dipc_ctl_is_ours(enum dipc_kind kind, int id, int cmd);
/*
 * *_INFO, *_STAT and *_STAT_ANY into the program's BUF: what the call answers,
 * or -errno, in *RET_OUT. False: another command.
 */
bool dipc_info_shm(int id, int cmd, void *buf, int64_t *ret_out);
bool dipc_info_sem(int id, int cmd, void *buf, int64_t *ret_out);
bool dipc_info_msg(int id, int cmd, void *buf, int64_t *ret_out);

#endif
