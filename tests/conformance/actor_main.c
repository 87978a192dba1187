// SPDX-License-Identifier: BSD-2-Clause
// The actor's side: functions of this program, called over a socket.
#include "tests/conformance/internal.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

static volatile sig_atomic_t nr_caught;

static void count_signal(int sig)
{
	(void)sig;
	nr_caught++;
}

long op_nothing(void *blob, size_t len)
{
	(void)blob;
	(void)len;
	return 0;
}

long op_exit(void *blob, size_t len)
{
	(void)blob;
	(void)len;
	exit(0);
}

/* The new program's greeting is the answer. */
long op_exec(void *blob, size_t len)
{
	(void)blob;
	(void)len;
	execl("/proc/self/exe", "conformance", "--actor", (char *)NULL);
	return -1;
}

long op_catch(void *blob, size_t len)
{
	int *arg = blob;
	struct sigaction act = {.sa_handler = count_signal};

	(void)len;
	act.sa_flags = arg[1];
	return sigaction(arg[0], &act, NULL);
}

long op_caught(void *blob, size_t len)
{
	int nr = nr_caught;

	(void)blob;
	(void)len;
	nr_caught = 0;
	return nr;
}

static int send_reply(int64_t ret, int err, const void *blob, size_t len)
{
	static char buf[sizeof(struct actor_reply) + ACTOR_BLOB_MAX];
	struct actor_reply reply = {
		.ret = ret,
		.err = err,
		.len = (uint32_t)len,
	};
	ssize_t done;

	memcpy(buf, &reply, sizeof(reply));
	memcpy(buf + sizeof(reply), blob, len);
	do {
		done = send(ACTOR_FD, buf, sizeof(reply) + len, MSG_NOSIGNAL);
	} while (done < 0 && errno == EINTR);
	return done < 0 ? -1 : 0;
}

int actor_main(void)
{
	static char buf[sizeof(struct actor_request) + ACTOR_BLOB_MAX];
	struct actor_request request;
	actor_fn *fn;
	ssize_t nr;
	long ret;

	if (send_reply(0, 0, "", 0) < 0)
		return 1;
	for (;;) {
		nr = recv(ACTOR_FD, buf, sizeof(buf), 0);
		if (nr < 0 && errno == EINTR)
			continue;
		if (nr < (ssize_t)sizeof(request))
			return 0;
		memcpy(&request, buf, sizeof(request));
		fn = (actor_fn *)((intptr_t)op_nothing + (intptr_t)request.fn);
		errno = 0;
		ret = fn(buf + sizeof(request), request.len);
		if (send_reply(ret, errno, buf + sizeof(request), request.len) <
		    0)
			return 1;
	}
}

/* LEN bytes that end where a page begins which is not mapped. */
static char *before_edge(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size = (len + page - 1) / page * page;
	char *mem;

	mem = mmap(NULL, size + page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED || munmap(mem + size, page) < 0)
		abort();
	return mem + size - len;
}

void *pointer_place(struct pointer p, const void *data, size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *mem;

	switch ((enum where)p.where) {
	case AT_NULL:
		return NULL;
	case AT_UNMAPPED:
		mem = before_edge(page);
		if (munmap(mem, page) < 0)
			abort();
		return mem;
	case AT_EDGE:
		mem = before_edge((size_t)p.len);
		memcpy(mem, data, (size_t)p.len < len ? (size_t)p.len : len);
		return mem;
	case AT_READONLY:
		mem = before_edge(len);
		memcpy(mem, data, len);
		mem = (char *)((uintptr_t)mem / page * page);
		if (mprotect(mem, (len + page - 1) / page * page, PROT_READ) <
		    0)
			abort();
		return mem + ((page - len % page) % page);
	case AT_HOME:
		break;
	}
	mem = malloc(len ? len : 1);
	if (!mem)
		abort();
	memcpy(mem, data, len);
	return mem;
}

void pointer_fetch(struct pointer p, const void *placed, void *data, size_t len)
{
	if (p.where == AT_NULL || p.where == AT_UNMAPPED)
		return;
	if (p.where == AT_EDGE && (size_t)p.len < len)
		len = (size_t)p.len;
	memcpy(data, placed, len);
}
