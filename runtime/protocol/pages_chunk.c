/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where pages live: each chunk's place at its home, asked for once and
 * remembered as long as the segment is open here ("Homes" of
 * docs/design/pages.md).
 */
#include "runtime/protocol/pages_private.h"

#include <errno.h>

#include "runtime/base/log.h"

/* One question, one answer. Fiber. 0 or -ENOLINK; the answer is in *CALL. */
static int chunk_call(struct page_chunk *chunk, struct dipc_link **link_out,
		      struct dipc_call *call)
{
	struct dipc_segment *seg = chunk->seg;
	struct dipc_request request = {.type = DIPC_REQ_CHUNK,
				       .object = (uint32_t)seg->id,
				       .page = chunk->first};
	unsigned home = dipc_shm_home_of(&seg->shm, chunk->first / CHUNK_PAGES);
	int ret;

	ret = dipc_fabric_link(seg->pages->fabric, home, link_out);
	if (ret == 0)
		ret = dipc_call_start(*link_out, &request, call);
	return ret ? ret : dipc_call_wait(call);
}

static int chunk_ask(struct page_chunk *chunk)
{
	struct dipc_segment *seg = chunk->seg;
	struct backoff backoff = {0};
	struct dipc_link *link;
	struct dipc_call call;
	int ret;

	do {
		ret = chunk_call(chunk, &link, &call);
		/* the link may be gone with the segment meanwhile: rule A */
		if (ret || seg->is_dead)
			return -ENOLINK;
		ret = call.answer.status;
		if (ret == -EAGAIN)
			dipc_pages_backoff(seg->pages, &backoff);
	} while (ret == -EAGAIN);
	if (ret == -ENOMEM)
		return -ENOSPC;
	if (ret)
		return -ENOLINK; /* it is not the node that was the home */
	chunk->words.addr = call.answer.arg[0];
	chunk->data.addr = call.answer.arg[1];
	chunk->words.rkey = chunk->data.rkey = call.answer.flags;
	chunk->link = link;
	return 0;
}

int dipc_page_locate(struct page *pg)
{
	struct page_chunk *chunk = page_chunk(pg);
	int ret;

	while (!chunk->link && chunk->is_asking)
		(void)dipc_waitq_wait(&chunk->asked, DIPC_NEVER);
	if (chunk->link)
		return 0;
	if (chunk->seg->is_dead)
		return -ENOLINK;
	chunk->is_asking = true;
	ret = chunk_ask(chunk);
	chunk->is_asking = false;
	dipc_waitq_wake_all(&chunk->asked);
	return ret;
}

static void chunk_fiber(void *arg)
{
	struct page_chunk *chunk = arg;

	/* whoever needs it asks again, and hears what is wrong */
	(void)dipc_page_locate(&chunk->page[0]);
	dipc_segment_fiber_end(chunk->seg);
}

void dipc_chunk_ask_ahead(struct dipc_segment *seg, uint64_t index)
{
	struct dipc_sched *sched = dipc_fabric_sched(seg->pages->fabric);
	struct page *pg = dipc_page_get(seg, index);
	struct page_chunk *chunk;

	if (!pg)
		return;
	chunk = page_chunk(pg);
	if (chunk->link || chunk->is_asking ||
	    dipc_fiber_spawn(sched, chunk_fiber, chunk))
		return;
	dipc_segment_fiber_begin(seg);
}

static int chunk_flush(struct page_chunk *chunk)
{
	struct dipc_tx tx;
	int ret;

	ret = dipc_page_tx(&chunk->page[0], &tx, 8);
	if (ret)
		return ret;
	dipc_tx_faa(&tx, chunk->words, 0);
	ret = dipc_tx_run(&tx);
	dipc_tx_end(&tx);
	return ret;
}

int dipc_segment_flush(struct dipc_segment *seg)
{
	uint64_t c, done = 0;
	int ret = 0;

	/* one link leads to all chunks of a home */
	for (c = 0; c < seg->nr_chunks && done != seg->shm.homes; c++) {
		struct page_chunk *chunk = seg->chunks[c];
		uint64_t bit = 1ull << (dipc_shm_home_of(&seg->shm, c) - 1);

		if (!chunk || !chunk->link || done & bit)
			continue;
		ret = chunk_flush(chunk);
		if (ret)
			break;
		done |= bit;
	}
	return ret;
}
