/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dipc.h - System V IPC whose keys mean the same on every node of a cluster.
 *
 * Add IPC_DIPC to the flags of shmget(2), semget(2) or msgget(2) and link
 * with -ldipc-rdma (or preload the library); every other call stays as it is.
 * See dipc(7).
 */
#ifndef DIPC_DIPC_H
#define DIPC_DIPC_H

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The bit that <linux/ipc.h> has reserved for DIPC since 1997. For shmget it
 * is also SHM_NORESERVE: an object asked for with that flag is distributed
 * while the node's daemon runs, unless dipc.conf says
 * "noreserve-is-dipc = no".
 */
#ifndef IPC_DIPC
#define IPC_DIPC 00010000
#endif

/* Which of the processes that an object remembers: dipc_pid_node(). */
#define DIPC_PID_SHM_CREATOR  1 /* shm_cpid */
#define DIPC_PID_SHM_LAST     2 /* shm_lpid */
#define DIPC_PID_MSG_SENDER   3 /* msg_lspid */
#define DIPC_PID_MSG_RECEIVER 4 /* msg_lrpid */
#define DIPC_PID_SEM          5 /* GETPID of semaphore num */

/*
 * The node, 1..40, of the process that the distributed object ID remembers as
 * WHICH (NUM: the semaphore for DIPC_PID_SEM, else ignored); 0: nobody yet.
 * *PID, unless PID is NULL: its process id there, of the same moment. -1 with
 * errno: EINVAL (ID is not a distributed object of that kind, bad WHICH or NUM),
 * EACCES (no read permission), EFAULT, ENOLINK. See dipc_pid_node(3).
 */
int dipc_pid_node(int id, int which, int num, int *pid);

/* Where the pages of a new segment live: dipc_shmget(). */
#define DIPC_HOMES_CREATOR 1 /* at the node of the caller who makes it */
#define DIPC_HOMES_SPREAD  2 /* in blocks, at all nodes in turn */

/* As transfer_unit: the segment as a whole. */
#define DIPC_UNIT_SEGMENT ((size_t)-1)

/* Fill it with zeros, then `size`; 0 elsewhere: as dipc.conf(5) says. */
struct dipc_shm_options {
	size_t size;          /* sizeof(struct dipc_shm_options) */
	int homes;            /* DIPC_HOMES_* */
	int reserved;         /* 0 */
	size_t home_block;    /* bytes in a row at one node: n times 2 MiB */
	size_t transfer_unit; /* bytes moved at a time: 4096 to 2 MiB, a power
				 of two, or DIPC_UNIT_SEGMENT */
};

/*
 * As shmget(2) with IPC_DIPC; if that makes the segment, it becomes as OPTIONS
 * says (NULL: as dipc.conf does), for its whole life. -1 with errno: as
 * shmget, and EINVAL (nonsense in OPTIONS), E2BIG (OPTIONS says what only a
 * later library knows), EFAULT. See dipc_shmget(3).
 */
int dipc_shmget(key_t key, size_t size, int shmflg,
		const struct dipc_shm_options *options);

/* dipc_prefetch(): to write the pages, not only to read them. */
#define DIPC_PREFETCH_WRITE 1

/*
 * Bring the pages of [ADDR, ADDR + LEN) to this node, all at once, and return
 * when they are here. With DIPC_PREFETCH_WRITE they are this node's to write.
 * A hint: another node may take them away again at any time. 0, or -1 with
 * errno: EINVAL (flags, or a range beyond the end of memory), EACCES (to write,
 * but attached read-only), ENOMEM (nothing is mapped there), EFAULT (beyond the
 * end of the segment), EIO (a page is lost), ENOLINK. See dipc_prefetch(3).
 */
int dipc_prefetch(const void *addr, size_t len, int flags);

/*
 * This node has no use for the pages of [ADDR, ADDR + LEN) now: what is here
 * of them is given back, and modified pages are sent home first. Nothing is
 * lost; who touches one brings it again. 0, or -1 with errno: EINVAL, EFAULT,
 * ENOLINK. See dipc_release(3).
 */
int dipc_release(void *addr, size_t len);

#ifdef __cplusplus
}
#endif

#endif
