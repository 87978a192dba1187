/* SPDX-License-Identifier: BSD-2-Clause */
#include "runtime/node/owner.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/node/job.h"

#define FIELD_START 22u /* of /proc/PID/stat: when it started, in ticks */

#define BITS(n) ((1ull << (n)) - 1)

#define TID_SHIFT   DIPC_OWNER_NODE_BITS
#define START_SHIFT (TID_SHIFT + DIPC_OWNER_TID_BITS)
#define IMAGE_SHIFT (START_SHIFT + DIPC_OWNER_START_BITS)

struct owner {
	unsigned node;
	uint32_t tid;
	uint64_t start; /* hash; 0: a thread that dipcd does not see */
	uint64_t image; /* hash; 0: not known */
};

static uint64_t owner_pack(const struct owner *o)
{
	return o->node | (uint64_t)o->tid << TID_SHIFT |
	       o->start << START_SHIFT | o->image << IMAGE_SHIFT;
}

static struct owner owner_unpack(uint64_t name)
{
	struct owner o = {
		.node = (unsigned)(name & BITS(DIPC_OWNER_NODE_BITS)),
		.tid = (uint32_t)(name >> TID_SHIFT &
				  BITS(DIPC_OWNER_TID_BITS)),
		.start = name >> START_SHIFT & BITS(DIPC_OWNER_START_BITS),
		.image = name >> IMAGE_SHIFT & BITS(DIPC_OWNER_IMAGE_BITS),
	};

	return o;
}

/* VALUES to BITS bits, never 0. */
static uint64_t hash(const uint64_t *values, unsigned nr, unsigned bits)
{
	uint64_t h = 0x9e3779b97f4a7c15u;
	unsigned i;

	for (i = 0; i < nr; i++) {
		h = (h ^ values[i]) * 0xff51afd7ed558ccdu;
		h ^= h >> 33;
	}
	return h % BITS(bits) + 1;
}

/* ---- what the kernel says ----------------------------------------------- */

/* A small file of /proc, whole. Bytes, or -errno. */
static ssize_t proc_read(const char *path, void *buf, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, room);
	if (n < 0)
		n = -errno;
	close(fd);
	return n;
}

/* The hash of when the thread at PATH started; 0: it has ended. */
static uint64_t thread_start(const struct dipc_node *node, const char *path)
{
	uint64_t values[2] = {node->incarnation, 0};
	char text[1024], *p;
	unsigned field;
	ssize_t n;

	n = proc_read(path, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* the name, field 2, may contain anything: begin behind it */
	p = strrchr(text, ')');
	if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
		return 0;
	for (field = 2; p && field < FIELD_START; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return 0;
	values[1] = strtoull(p, NULL, 10);
	return hash(values, 2, DIPC_OWNER_START_BITS);
}

/*
 * The hash of where the kernel put things at the last exec of TID's process.
 * 0: it does not tell us.
 */
static uint64_t process_image(uint32_t tid)
{
	uint64_t values[4] = {0};
	Elf64_auxv_t aux[64];
	char path[32];
	ssize_t n, i;

	snprintf(path, sizeof(path), "/proc/%u/auxv", tid);
	n = proc_read(path, aux, sizeof(aux));
	if (n <= 0)
		return 0;
	for (i = 0; i < n / (ssize_t)sizeof(aux[0]); i++) {
		if (aux[i].a_type == AT_RANDOM) /* on the stack */
			values[0] = aux[i].a_un.a_val;
		else if (aux[i].a_type == AT_SYSINFO_EHDR)
			values[1] = aux[i].a_un.a_val;
		else if (aux[i].a_type == AT_BASE)
			values[2] = aux[i].a_un.a_val;
		else if (aux[i].a_type == AT_EXECFN)
			values[3] = aux[i].a_un.a_val;
	}
	return hash(values, 4, DIPC_OWNER_IMAGE_BITS);
}

/* ---- names -------------------------------------------------------------- */

/* For threads that /proc here does not show: all live as long as the node. */
static uint64_t life_of_node(const struct dipc_node *node)
{
	const uint64_t values[1] = {node->incarnation};

	return hash(values, 1, DIPC_OWNER_IMAGE_BITS);
}

uint64_t dipc_owner_name(struct dipc_node *node, uint32_t pid, uint32_t tid)
{
	struct owner o = {.node = dipc_fabric_node(node->fabric), .tid = tid};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/task/%u/stat", pid, tid);
	o.start =
		tid <= BITS(DIPC_OWNER_TID_BITS) ? thread_start(node, path) : 0;
	if (o.start) {
		o.image = process_image(pid);
	} else {
		o.tid = ++node->last_unseen & BITS(DIPC_OWNER_TID_BITS);
		o.image = life_of_node(node);
	}
	return owner_pack(&o);
}

int dipc_owner_is_here(struct dipc_node *node, uint64_t owner)
{
	struct owner o = owner_unpack(owner);
	char path[32];
	uint64_t image;

	if (!o.start)
		return o.image == life_of_node(node);
	snprintf(path, sizeof(path), "/proc/%u/stat", o.tid);
	if (thread_start(node, path) != o.start)
		return 0;
	if (!o.image)
		return 1;
	/* one that hides itself meanwhile has not ended */
	image = process_image(o.tid);
	return !image || image == o.image;
}

/* NODE does not answer: is it in the cluster? 0 no, -ENOLINK. */
static int owner_node_is_gone(struct dipc_fabric *f, unsigned node)
{
	uint64_t off = dipc_fabric_super(f)->nodes_off +
		       (uint64_t)node * sizeof(struct dipc_arena_node);
	struct dipc_arena_node entry;

	if (dipc_arena_read(f, off, &entry, sizeof(entry)))
		return -ENOLINK;
	return entry.state >> 32 == DIPC_NODE_ALIVE ? -ENOLINK : 0;
}

int dipc_owner_is_alive(struct dipc_node *node, uint64_t owner)
{
	const struct dipc_request request = {.type = DIPC_REQ_OWNER,
					     .arg = {owner}};
	unsigned where = owner_unpack(owner).node;
	struct dipc_link *link;
	struct dipc_call call;
	int ret;

	if (where < 1 || where > DIPC_NODES_MAX)
		return -EINVAL;
	if (where == dipc_fabric_node(node->fabric))
		return dipc_owner_is_here(node, owner);
	ret = dipc_fabric_link(node->fabric, where, &link);
	if (ret == 0)
		ret = dipc_call_start(link, &request, &call);
	if (ret == 0)
		ret = dipc_call_wait(&call);
	if (ret)
		return owner_node_is_gone(node->fabric, where);
	return call.answer.status;
}

int64_t dipc_job_owner(struct dipc_job *job)
{
	if (job->call == DIPC_CALL_OWNER_ALIVE)
		return dipc_owner_is_alive(job->node, job->args.owner.owner);
	return (int64_t)dipc_owner_name(job->node, job->client->process->pid,
					job->args.owner.tid);
}
