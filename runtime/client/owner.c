/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/client/futex.h"

#include <stdio.h>
#include <string.h>

#include "runtime/base/sys.h"

/* An owner: the thread's id, and when it started, in clock ticks. */
#define OWNER_TID_BITS 22u
#define OWNER_TID(o)   ((uint32_t)(o) & ((1u << OWNER_TID_BITS) - 1))

/* When TID of this node started; 0: it has ended. */
static uint64_t thread_start(uint32_t tid)
{
	char path[32], text[512], *p;
	uint64_t start = 0;
	unsigned field;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/stat", tid);
	fd = dipc_sys_open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = dipc_sys_read(fd, text, sizeof(text) - 1);
	dipc_sys_close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* the name, field 2, may contain anything: begin behind it */
	p = strrchr(text, ')');
	if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
		return 0;
	for (field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	while (p && *++p >= '0' && *p <= '9')
		start = start * 10 + (uint64_t)(*p - '0');
	return start;
}

uint64_t dipc_owner_self(void)
{
	uint32_t tid = (uint32_t)dipc_sys_gettid();
	uint64_t start = thread_start(tid);

	return (start << OWNER_TID_BITS | tid) & ~DIPC_OWNER_FREE_BIT;
}

int dipc_owner_is_alive(uint64_t owner)
{
	uint64_t start = thread_start(OWNER_TID(owner));

	return start && start == owner >> OWNER_TID_BITS;
}

/* No other node's names come here yet. */
bool dipc_owner_is_near(uint64_t owner)
{
	return OWNER_TID(owner) != 0;
}
