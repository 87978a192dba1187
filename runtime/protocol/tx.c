/* SPDX-License-Identifier: BSD-2-Clause */
/* Chains of one-sided operations, and the registered buffers they use. */
#include "runtime/protocol/fabric_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/log.h"

/* ---- buffers ------------------------------------------------------------ */

void dipc_fabric_init_bufs(struct dipc_fabric *f)
{
	unsigned i;

	for (i = 0; i < BUF_CLASSES; i++)
		dipc_list_init(&f->buf_free[i]);
	dipc_list_init(&f->buf_chunks);
}

void dipc_fabric_fini_bufs(struct dipc_fabric *f)
{
	struct dipc_list *node;

	while ((node = dipc_list_pop(&f->buf_chunks))) {
		struct buf_chunk *chunk =
			dipc_container_of(node, struct buf_chunk, node);

		dipc_region_destroy(chunk->region);
		free(chunk->bufs);
		free(chunk);
	}
}

/* Register memory for more buffers of CLASS. */
static int bufs_grow(struct dipc_fabric *f, unsigned class)
{
	size_t size = (size_t)1 << (class + BUF_MIN_SHIFT);
	size_t len = size < 65536 ? 65536 : size;
	size_t i, nr = len / size;
	struct buf_chunk *chunk = calloc(1, sizeof(*chunk));
	int ret = -ENOMEM;

	if (!chunk)
		return ret;
	chunk->bufs = calloc(nr, sizeof(*chunk->bufs));
	if (!chunk->bufs)
		goto err_chunk;
	ret = dipc_region_create(f->transport, NULL, len, &chunk->region);
	if (ret)
		goto err_bufs;
	for (i = 0; i < nr; i++) {
		struct dipc_buf *buf = &chunk->bufs[i];

		buf->region = chunk->region;
		buf->data = chunk->region->base + i * size;
		buf->class = class;
		dipc_list_add_tail(&f->buf_free[class], &buf->node);
	}
	dipc_list_add_tail(&f->buf_chunks, &chunk->node);
	return 0;

err_bufs:
	free(chunk->bufs);
err_chunk:
	free(chunk);
	return ret;
}

static int buf_get(struct dipc_fabric *f, size_t bytes,
		   struct dipc_buf **buf_out)
{
	struct dipc_list *node;
	unsigned class = 0;
	int ret;

	while (((size_t)1 << (class + BUF_MIN_SHIFT)) < bytes)
		if (++class == BUF_CLASSES)
			return -ENOMEM;
	node = dipc_list_pop(&f->buf_free[class]);
	if (!node) {
		ret = bufs_grow(f, class);
		if (ret)
			return ret;
		node = dipc_list_pop(&f->buf_free[class]);
	}
	*buf_out = dipc_container_of(node, struct dipc_buf, node);
	return 0;
}

static void buf_put(struct dipc_fabric *f, struct dipc_buf *buf)
{
	/* newest first: its lines are warm */
	dipc_list_add_head(&f->buf_free[buf->class], &buf->node);
}

/* ---- building ----------------------------------------------------------- */

int dipc_tx_begin(struct dipc_tx *tx, struct dipc_link *link, size_t bytes)
{
	int ret;

	tx->link = NULL;
	if (!link || link->state != LINK_OPEN)
		return -ENOLINK;
	ret = buf_get(link->fabric, bytes, &tx->buf);
	if (ret)
		return ret;
	tx->link = link;
	tx->counters = NULL;
	tx->is_posted = false;
	tx->status = 0;
	tx->fiber = NULL;
	tx->wr = tx->few;
	tx->max = DIPC_TX_MAX;
	dipc_list_init(&tx->node);
	dipc_tx_again(tx);
	return 0;
}

void dipc_tx_lend(struct dipc_tx *tx, struct dipc_wr wr[DIPC_TX_RUN])
{
	assert(tx->nr == 0);
	tx->wr = wr;
	tx->max = dipc_transport_limits(tx->link->fabric->transport)->max_chain;
	if (tx->max > DIPC_TX_RUN)
		tx->max = DIPC_TX_RUN;
}

void dipc_tx_again(struct dipc_tx *tx)
{
	tx->used = 0;
	tx->used_by_words = 0;
	tx->nr = 0;
	tx->must_fence = false;
}

void dipc_tx_end(struct dipc_tx *tx)
{
	if (!tx->link)
		return;
	buf_put(tx->link->fabric, tx->buf);
	tx->link = NULL;
}

struct dipc_remote dipc_tx_at(const struct dipc_link *link, uint64_t off)
{
	return (struct dipc_remote){.addr = link->base.addr + off,
				    .rkey = link->base.rkey};
}

#define WORDS_MAX 64u /* a directory's entry, or a word */

/*
 * Words at the buffer's end, the rest from its start: so a page lies as it
 * does at home and in a process. The processor copies it several times as fast
 * as to 8 bytes beside that.
 */
static uint8_t *tx_place(struct dipc_tx *tx, size_t len)
{
	size_t room = (size_t)1 << (tx->buf->class + BUF_MIN_SHIFT);
	size_t at = tx->used - tx->used_by_words;

	assert(len <= room && tx->used <= room - len);
	len = (len + 7) & ~(size_t)7;
	tx->used += len;
	if (len <= WORDS_MAX) {
		tx->used_by_words += len;
		at = room - tx->used_by_words;
	}
	return tx->buf->data + at;
}

static struct dipc_wr *tx_add(struct dipc_tx *tx, enum dipc_wr_op op,
			      struct dipc_remote remote, size_t len)
{
	struct dipc_wr *wr = &tx->wr[tx->nr];

	assert(tx->nr < tx->max);
	tx->nr++;
	memset(wr, 0, sizeof(*wr));
	wr->op = op;
	wr->flags = tx->must_fence ? DIPC_WR_FENCE : 0;
	tx->must_fence = false;
	wr->len = (uint32_t)len;
	wr->remote = remote;
	wr->region = tx->buf->region;
	wr->local = tx_place(tx, len);
	return wr;
}

void *dipc_tx_read(struct dipc_tx *tx, struct dipc_remote from, size_t len)
{
	return tx_add(tx, DIPC_WR_READ, from, len)->local;
}

void dipc_tx_write(struct dipc_tx *tx, struct dipc_remote to, const void *src,
		   size_t len)
{
	memcpy(dipc_tx_write_here(tx, to, len), src, len);
}

void *dipc_tx_write_here(struct dipc_tx *tx, struct dipc_remote to, size_t len)
{
	return tx_add(tx, DIPC_WR_WRITE, to, len)->local;
}

const uint64_t *dipc_tx_cas(struct dipc_tx *tx, struct dipc_remote at,
			    uint64_t compare, uint64_t swap)
{
	struct dipc_wr *wr = tx_add(tx, DIPC_WR_CAS, at, 8);

	wr->compare = compare;
	wr->arg = swap;
	return wr->local;
}

const uint64_t *dipc_tx_faa(struct dipc_tx *tx, struct dipc_remote at,
			    uint64_t add)
{
	struct dipc_wr *wr = tx_add(tx, DIPC_WR_FAA, at, 8);

	wr->arg = add;
	return wr->local;
}

void dipc_tx_fence(struct dipc_tx *tx)
{
	tx->must_fence = true;
}

/* ---- in flight ---------------------------------------------------------- */

static void tx_finish(struct dipc_tx *tx, int status)
{
	tx->status = status;
	if (tx->is_posted) {
		dipc_tx_end(tx);
		free(tx);
	} else if (tx->fiber) {
		dipc_fiber_wake(tx->fiber);
	}
}

static void tx_done(struct dipc_op *op, int status)
{
	struct dipc_tx *tx = dipc_container_of(op, struct dipc_tx, op);

	/* to a protocol a refused access is a lost peer; here it is a bug, or
	   a peer that restarted */
	if (status == -EREMOTEIO)
		dipc_error("node %u refused an access to its memory",
			   tx->link->node);
	tx_finish(tx, status ? -ENOLINK : 0);
}

static void tx_count(struct dipc_tx *tx)
{
	struct dipc_fabric_counters *c = &tx->link->fabric->counters;
	unsigned i;

	dipc_tx_count(tx);
	c->nr_chains++;
	for (i = 0; i < tx->nr; i++) {
		switch (tx->wr[i].op) {
		case DIPC_WR_READ:
			c->nr_reads++;
			break;
		case DIPC_WR_WRITE:
			c->nr_writes++;
			break;
		case DIPC_WR_WRITE_IMM:
			c->nr_imms++;
			break;
		case DIPC_WR_CAS:
		case DIPC_WR_FAA:
			c->nr_atomics++;
			break;
		}
	}
}

/*
 * Post, or queue behind what found no room. 0 (done), -EINPROGRESS, -ENOLINK.
 */
static int tx_submit(struct dipc_tx *tx)
{
	struct dipc_link *link = tx->link;
	int ret = -EAGAIN;

	if (link->state != LINK_OPEN)
		return -ENOLINK;
	tx->op.done = tx_done;
	tx->status = -EINPROGRESS;
	if (dipc_list_is_empty(&link->backlog))
		ret = dipc_conn_post(link->conn, tx->wr, tx->nr, &tx->op);
	if (ret == -EAGAIN) {
		dipc_list_add_tail(&link->backlog, &tx->node);
		link->fabric->nr_backlogged++;
		ret = -EINPROGRESS;
	}
	if (ret == 0 || ret == -EINPROGRESS)
		tx_count(tx);
	if (ret == -EINVAL) {
		dipc_error("transport refused a chain of %u for node %u",
			   tx->nr, link->node);
		assert(ret != -EINVAL);
	}
	if (ret == 0)
		tx->status = 0;
	return ret;
}

void dipc_link_flush_backlog(struct dipc_link *link)
{
	while (!dipc_list_is_empty(&link->backlog)) {
		struct dipc_tx *tx = dipc_container_of(link->backlog.next,
						       struct dipc_tx, node);
		int ret = dipc_conn_post(link->conn, tx->wr, tx->nr, &tx->op);

		if (ret == -EAGAIN)
			return;
		dipc_list_del(&tx->node);
		link->fabric->nr_backlogged--;
		if (ret != -EINPROGRESS)
			tx_finish(tx, ret);
	}
}

void dipc_link_fail_backlog(struct dipc_link *link)
{
	struct dipc_list *node;

	while ((node = dipc_list_pop(&link->backlog))) {
		link->fabric->nr_backlogged--;
		tx_finish(dipc_container_of(node, struct dipc_tx, node),
			  -ENOLINK);
	}
}

int dipc_tx_start(struct dipc_tx *tx)
{
	int ret;

	tx->fiber = dipc_fiber_self();
	ret = tx_submit(tx);
	return ret == -EINPROGRESS ? 0 : ret;
}

int dipc_tx_wait(struct dipc_tx *tx)
{
	while (tx->status == -EINPROGRESS)
		(void)dipc_fiber_park(DIPC_NEVER);
	return tx->status;
}

int dipc_tx_run(struct dipc_tx *tx)
{
	int ret = dipc_tx_start(tx);

	return ret ? ret : dipc_tx_wait(tx);
}

int dipc_tx_post(struct dipc_tx *tx)
{
	struct dipc_tx *own = malloc(sizeof(*own));
	int ret;

	if (!own) {
		dipc_tx_end(tx);
		return -ENOMEM;
	}
	assert(tx->wr == tx->few);
	*own = *tx;
	own->wr = own->few;
	tx->link = NULL;
	own->is_posted = true;
	own->fiber = NULL;
	dipc_list_init(&own->node);
	ret = tx_submit(own);
	if (ret == -EINPROGRESS)
		return 0;
	dipc_tx_end(own);
	free(own);
	return ret;
}

int dipc_link_send_imm(struct dipc_link *link, uint32_t imm,
		       struct dipc_remote to, const void *src, size_t len)
{
	struct dipc_tx tx;
	struct dipc_wr *wr;
	int ret;

	ret = dipc_tx_begin(&tx, link, len);
	if (ret)
		return ret;
	wr = tx_add(&tx, DIPC_WR_WRITE_IMM, to, len);
	wr->imm = imm;
	if (len)
		memcpy(wr->local, src, len);
	return dipc_tx_post(&tx);
}

/* ---- shorthands --------------------------------------------------------- */

int dipc_arena_read(struct dipc_fabric *f, uint64_t off, void *dst, size_t len)
{
	struct dipc_link *link = dipc_fabric_arena(f);
	const void *src;
	struct dipc_tx tx;
	int ret;

	ret = dipc_tx_begin(&tx, link, len);
	if (ret)
		return ret;
	src = dipc_tx_read(&tx, dipc_tx_at(link, off), len);
	ret = dipc_tx_run(&tx);
	if (ret == 0)
		memcpy(dst, src, len);
	dipc_tx_end(&tx);
	return ret;
}

int dipc_arena_write(struct dipc_fabric *f, uint64_t off, const void *src,
		     size_t len)
{
	struct dipc_link *link = dipc_fabric_arena(f);
	struct dipc_tx tx;
	int ret;

	ret = dipc_tx_begin(&tx, link, len);
	if (ret)
		return ret;
	dipc_tx_write(&tx, dipc_tx_at(link, off), src, len);
	ret = dipc_tx_run(&tx);
	dipc_tx_end(&tx);
	return ret;
}

static int arena_atomic(struct dipc_fabric *f, enum dipc_wr_op op, uint64_t off,
			uint64_t compare, uint64_t arg, uint64_t *old_out)
{
	struct dipc_link *link = dipc_fabric_arena(f);
	const uint64_t *old;
	struct dipc_tx tx;
	int ret;

	ret = dipc_tx_begin(&tx, link, 8);
	if (ret)
		return ret;
	if (op == DIPC_WR_CAS)
		old = dipc_tx_cas(&tx, dipc_tx_at(link, off), compare, arg);
	else
		old = dipc_tx_faa(&tx, dipc_tx_at(link, off), arg);
	ret = dipc_tx_run(&tx);
	if (ret == 0)
		*old_out = *old;
	dipc_tx_end(&tx);
	return ret;
}

int dipc_arena_cas(struct dipc_fabric *f, uint64_t off, uint64_t compare,
		   uint64_t swap, uint64_t *old_out)
{
	return arena_atomic(f, DIPC_WR_CAS, off, compare, swap, old_out);
}

int dipc_arena_faa(struct dipc_fabric *f, uint64_t off, uint64_t add,
		   uint64_t *old_out)
{
	return arena_atomic(f, DIPC_WR_FAA, off, 0, add, old_out);
}
