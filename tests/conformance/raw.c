// SPDX-License-Identifier: BSD-2-Clause
// Calls that do not go through libc's functions.
#include "tests/conformance/sysv.h"

#include <sys/syscall.h>

static long op_raw_sem(void *blob, size_t len)
{
	int set = *(int *)blob;
	struct sembuf op = {0, 3, 0};
	struct sembuf too_much = {0, -9, 0};
	struct timespec ts = {0, 1000};

	(void)len;
	if (syscall(SYS_semop, set, &op, 1) < 0)
		return -1;
	if (syscall(SYS_semtimedop, set, &too_much, 1, &ts) == 0 ||
	    errno != EAGAIN)
		return -1;
	return syscall(SYS_semctl, set, 0, GETVAL, 0);
}

static long op_raw_semget(void *blob, size_t len)
{
	(void)len;
	return syscall(SYS_semget, *(key_t *)blob, 1, 0);
}

static void show_set(long ret, const void *blob, size_t len)
{
	(void)blob;
	(void)len;
	out("%s", object_name(OBJECT_SEM, (int)ret));
}

static void raw_sem(void)
{
	int set = three_and_set(1);
	key_t key = KEY(1);

	act(B, op_raw_sem, &set, sizeof(set), NULL, "system calls");
	a_getval(A, set, 0);
	act(B, op_raw_semget, &key, sizeof(key), show_set, "SYS_semget");
}

static long op_raw_msg(void *blob, size_t len)
{
	int queue = *(int *)blob;
	struct {
		long mtype;
		char text[10];
	} msg = {4, "raw"};

	(void)len;
	if (syscall(SYS_msgsnd, queue, &msg, 4L, 0) < 0)
		return -1;
	return syscall(SYS_msgrcv, queue, &msg, 10L, -4L, IPC_NOWAIT);
}

static void raw_msg(void)
{
	int queue = three_and_queue();

	act(B, op_raw_msg, &queue, sizeof(queue), NULL, "system calls");
	a_msg_use(A, queue);
}

const struct conformance_case raw_cases[] = {
	{"raw.sem", raw_sem},
	{"raw.msg", raw_msg},
	{0},
};
