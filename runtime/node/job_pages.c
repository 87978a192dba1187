/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hints: pages of an attached segment that a client will use, or has no use
 * for. They are done a chunk at a time; before each it is looked at anew
 * whether the client still has the segment attached.
 */
#include <errno.h>
#include <stdlib.h>

#include "runtime/node/job.h"
#include "runtime/node/segments.h"

#define PORTION 512u /* pages; the protocol's chunk */
/* Prefetches of a client that nobody waits for; the next one is waited for. */
#define PREFETCHES_MAX 4u

struct hint {
	struct dipc_client *client;
	uint32_t call;
	int32_t id;
	bool is_write;
	uint64_t first, nr; /* pages that are left */
};

/* One portion. Fiber. 0 or -errno. */
static int hint_portion(struct hint *h)
{
	struct dipc_segments *segments = h->client->node->segments;
	struct dipc_spaces *spaces = dipc_segments_spaces(segments);
	uint32_t pid = h->client->process->pid;
	uint64_t n = PORTION - h->first % PORTION;
	struct dipc_segment *seg = dipc_spaces_find(spaces, pid, h->id);
	uint64_t end;
	int ret;

	if (!seg)
		return -EFAULT;
	if (h->is_write && !dipc_spaces_may_write(spaces, pid, h->id))
		return -EACCES;
	end = dipc_segment_nr_pages(seg);
	if (h->first > end || h->nr > end - h->first)
		return -EFAULT;
	if (n > h->nr)
		n = h->nr;
	dipc_segment_get(seg);
	if (h->call == DIPC_CALL_RELEASE)
		ret = dipc_pages_release(seg, h->first, n);
	else
		ret = dipc_pages_fetch(seg, h->first, n, h->is_write);
	dipc_segment_put(seg);
	h->first += n;
	h->nr -= n;
	return ret;
}

/* All of it, or until CANCEL (may be NULL). Fiber. 0 or -errno. */
static int hint_run(struct hint *h, const struct dipc_cancel *cancel)
{
	int ret = 0;

	while (h->nr && ret == 0) {
		if (cancel ? cancel->is_set : h->client->is_closed)
			return -EINTR;
		ret = hint_portion(h);
		/* where nothing waits for the wire the loop would not turn */
		if (h->nr && ret == 0)
			dipc_fiber_sleep(DIPC_USEC);
	}
	return ret;
}

static void prefetch_fiber(void *arg)
{
	struct hint h = *(struct hint *)arg;

	free(arg);
	(void)hint_run(&h, NULL); /* a hint: nobody waits for the answer */
	h.client->nr_prefetches--;
	dipc_client_put(h.client);
}

/* Begin it, and let it go on by itself. 0, or -EAGAIN: it has to be waited
   for. */
static int prefetch_start(const struct hint *h)
{
	struct hint *copy;

	if (h->client->nr_prefetches >= PREFETCHES_MAX)
		return -EAGAIN;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -EAGAIN;
	*copy = *h;
	if (dipc_fiber_spawn(dipc_loop_sched(h->client->node->loop),
			     prefetch_fiber, copy)) {
		free(copy);
		return -EAGAIN;
	}
	h->client->nr_prefetches++;
	dipc_client_get(h->client);
	return 0;
}

int64_t dipc_job_pages(struct dipc_job *job)
{
	uint32_t flags = job->args.pages.flags;
	struct hint h = {
		.client = job->client,
		.call = job->call,
		.id = job->args.pages.id,
		.first = job->args.pages.first,
		.nr = job->args.pages.nr,
	};

	if (job->call == DIPC_CALL_PREFETCH)
		h.is_write = flags & DIPC_LOCAL_PREFETCH_WRITE;
	if (job->call == DIPC_CALL_PREFETCH &&
	    (flags & DIPC_LOCAL_PREFETCH_START) && prefetch_start(&h) == 0)
		return 0;
	return hint_run(&h, &job->cancel);
}
