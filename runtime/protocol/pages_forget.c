/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A segment has died on this node, which lives: a link to a home of it broke,
 * or one of several homes died, or the pager failed. Its copies are gone, but
 * homes that live still name this node: bits, pages it held, perhaps a lock
 * that everybody waits for. Each is asked to forget this node as if it had
 * died, for this segment alone ("Crashes" of docs/design/pages.md).
 */
#include "runtime/protocol/pages_private.h"

#include <errno.h>

#include "runtime/base/log.h"

static int forget_ask(struct dipc_segment *seg, unsigned home)
{
	struct dipc_request request = {.type = DIPC_REQ_FORGET,
				       .object = (uint32_t)seg->id};
	struct dipc_link *link;
	struct dipc_call call;
	int ret;

	ret = dipc_fabric_link(seg->pages->fabric, home, &link);
	if (ret == 0)
		ret = dipc_call_start(link, &request, &call);
	if (ret == 0)
		ret = dipc_call_wait(&call);
	return ret ? ret : call.answer.status;
}

/* Until HOME has forgotten us, or is no more, or we are out ourselves. */
static void forget_at(struct dipc_segment *seg, unsigned home)
{
	struct dipc_pages *pages = seg->pages;
	struct backoff backoff = {0};
	int ret;

	for (;;) {
		ret = pages->is_out ? 0 : forget_ask(seg, home);
		if (ret == 0)
			return;
		if (ret != -EAGAIN &&
		    (!pages->events->await_fenced ||
		     pages->events->await_fenced(pages->arg, home) == 0))
			return;
		dipc_pages_backoff(pages, &backoff);
	}
}

static void forget_fiber(void *arg)
{
	struct dipc_segment *seg = arg;
	unsigned node;

	/* they fail soon, now that it is dead, and post nothing more */
	while (seg->nr_fibers)
		(void)dipc_waitq_wait(&seg->quiet, DIPC_NEVER);
	for (node = 1; node <= DIPC_NODES_MAX; node++)
		if (dipc_shm_is_home(&seg->shm, node))
			forget_at(seg, node);
	seg->is_forgetting = false;
	dipc_waitq_wake_all(&seg->quiet);
}

void dipc_segment_forget(struct dipc_segment *seg)
{
	/* one that is being opened has left no traces yet */
	if (seg->pages->is_out || seg->is_opening)
		return;
	seg->is_forgetting = true;
	if (dipc_fiber_spawn(dipc_fabric_sched(seg->pages->fabric),
			     forget_fiber, seg) == 0)
		return;
	/*
	 * It stays so: then it is never opened here again, which its homes
	 * would take for the same life.
	 */
	dipc_error("segment 0x%x: no memory to have it forgotten",
		   (unsigned)seg->id);
}
