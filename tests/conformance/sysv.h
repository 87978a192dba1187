/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on semaphores and queues: one line of output each. */
#ifndef DIPC_TESTS_CONFORMANCE_SYSV_H
#define DIPC_TESTS_CONFORMANCE_SYSV_H

#include "tests/conformance/case.h"

#include <sys/msg.h>
#include <sys/sem.h>

/* A, B and C at places 1, 2 and 3, started by the two below. */
extern struct actor *A, *B, *C;
void three(void);
/* three(), and a set (or a queue) of A's, mode 0600, its key KEY(1). */
int three_and_set(int nsems);
int three_and_queue(void);

/* ---- semaphores -----------------------------------------------------------*/

#define OPS(...)                                                               \
	(const struct sembuf[]){__VA_ARGS__},                                  \
		sizeof((const struct sembuf[]){__VA_ARGS__}) /                 \
			sizeof(struct sembuf)
#define VALUES(...)                                                            \
	(const unsigned short[]){__VA_ARGS__},                                 \
		sizeof((const unsigned short[]){__VA_ARGS__}) /                \
			sizeof(unsigned short)

/* The identifier, named NAME; or -errno. */
int a_semget(struct actor *a, key_t key, int nsems, int flags,
	     const char *name);
long a_semop(struct actor *a, int id, const struct sembuf *ops, size_t nsops);
/* TIMEOUT in milliseconds. */
long a_semtimedop(struct actor *a, int id, const struct sembuf *ops,
		  size_t nsops, long timeout);
long a_semtimedop_spec(struct actor *a, int id, const struct sembuf *ops,
		       size_t nsops, struct timespec timeout);
/* NSOPS as the call gets it, whatever is in OPS. */
long a_semop_nr(struct actor *a, int id, const struct sembuf *ops, size_t nr,
		size_t nsops);

long a_getval(struct actor *a, int id, int num);
long a_getpid(struct actor *a, int id, int num);
long a_getncnt(struct actor *a, int id, int num);
long a_getzcnt(struct actor *a, int id, int num);
long a_setval(struct actor *a, int id, int num, int value);
/* NR: how many are printed. */
long a_getall(struct actor *a, int id, int nr);
long a_setall(struct actor *a, int id, const unsigned short *values, size_t nr);
long a_sem_stat(struct actor *a, int id);
long a_sem_set(struct actor *a, int id, uid_t uid, gid_t gid, int mode);
long a_sem_rm(struct actor *a, int id);
/* Any command, with a number for its fourth argument. */
long a_semctl(struct actor *a, int id, int num, int cmd, const char *cmd_name);

/* ---- queues ---------------------------------------------------------------*/

int a_msgget(struct actor *a, key_t key, int flags, const char *name);
long a_msgsnd(struct actor *a, int id, long type, const char *text, int flags);
/* SIZE bytes of LETTER. */
long a_msgsnd_nr(struct actor *a, int id, long type, char letter, size_t size,
		 int flags);
long a_msgrcv(struct actor *a, int id, size_t size, long type, int flags);
long a_msg_stat(struct actor *a, int id);
/* qnum, cbytes and who was last, without times and modes. */
long a_msg_use(struct actor *a, int id);
/* qnum and cbytes, where chance decides who was last. */
long a_msg_count(struct actor *a, int id);
long a_msg_set(struct actor *a, int id, uid_t uid, gid_t gid, int mode,
	       size_t qbytes);
long a_msg_rm(struct actor *a, int id);
long a_msgctl(struct actor *a, int id, int cmd, const char *cmd_name);

#endif
