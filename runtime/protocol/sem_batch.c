/* SPDX-License-Identifier: BSD-2-Clause */
/* Chains of any length, for the code that holds a set. */
#include "runtime/protocol/sem_private.h"

#include <errno.h>

#include "runtime/base/log.h"

#define BATCH_ROOM 2048u
#define WRITE_MAX  65536u
#define POSTED_MAX 16u /* chains */

void dipc_sem_batch_init(struct sem_batch *b, struct dipc_fabric *f)
{
	b->fabric = f;
	b->tx.link = NULL;
	b->room = 0;
	b->status = 0;
	b->nr_checks = 0;
	b->nr_posted = 0;
}

void dipc_sem_batch_end(struct sem_batch *b)
{
	dipc_tx_end(&b->tx);
}

/*
 * The chain is full: on its way. One in POSTED_MAX is waited for, or a set of
 * thousands would stand in the way of everything else on this connection, the
 * heartbeat included.
 */
static int batch_send(struct sem_batch *b)
{
	int ret;

	if (++b->nr_posted % POSTED_MAX)
		return dipc_tx_post(&b->tx);
	ret = dipc_tx_run(&b->tx);
	dipc_tx_end(&b->tx);
	return ret;
}

/* Room for one more request of LEN bytes, or an error. */
static int batch_need(struct sem_batch *b, size_t len)
{
	len = (len + 7) & ~(size_t)7;
	if (b->status)
		return b->status;
	if (b->tx.link &&
	    (b->tx.nr == DIPC_TX_MAX || b->tx.used + len > b->room)) {
		b->status = batch_send(b);
		b->nr_checks = 0;
	}
	while (!b->status && !b->tx.link) {
		b->room = len > BATCH_ROOM ? len : BATCH_ROOM;
		b->status = dipc_tx_begin(&b->tx, dipc_fabric_arena(b->fabric),
					  b->room);
		if (b->status != -ENOMEM)
			break;
		/* waited out: a live node that keeps the lock would be worse */
		b->status = 0;
		dipc_fiber_sleep(DIPC_MSEC);
	}
	return b->status;
}

void dipc_sem_batch_write(struct sem_batch *b, uint64_t off, const void *src,
			  size_t len)
{
	const uint8_t *from = src;

	while (len) {
		size_t part = len < WRITE_MAX ? len : WRITE_MAX;

		if (batch_need(b, part))
			return;
		dipc_tx_write(&b->tx, dipc_tx_at(b->tx.link, off), from, part);
		off += part;
		from += part;
		len -= part;
	}
}

const uint64_t *dipc_sem_batch_try(struct sem_batch *b, uint64_t off,
				   uint64_t compare, uint64_t swap)
{
	if (batch_need(b, 8))
		return NULL;
	return dipc_tx_cas(&b->tx, dipc_tx_at(b->tx.link, off), compare, swap);
}

void dipc_sem_batch_cas(struct sem_batch *b, uint64_t off, uint64_t compare,
			uint64_t swap)
{
	const uint64_t *old = dipc_sem_batch_try(b, off, compare, swap);

	if (!old)
		return;
	b->check[b->nr_checks].old = old;
	b->check[b->nr_checks].want = compare;
	b->nr_checks++;
}

void dipc_sem_batch_start(struct sem_batch *b)
{
	if (!b->status && b->tx.link)
		b->status = dipc_tx_start(&b->tx);
}

int dipc_sem_batch_wait(struct sem_batch *b)
{
	unsigned i;

	if (!b->status && b->tx.link)
		b->status = dipc_tx_wait(&b->tx);
	if (b->status)
		return b->status;
	for (i = 0; i < b->nr_checks; i++) {
		if (*b->check[i].old == b->check[i].want)
			continue;
		dipc_error("a word under our lock changed: 0x%llx for 0x%llx",
			   (unsigned long long)*b->check[i].old,
			   (unsigned long long)b->check[i].want);
		b->status = -ENOLINK;
	}
	return b->status;
}

int dipc_sem_batch_run(struct sem_batch *b)
{
	dipc_sem_batch_start(b);
	return dipc_sem_batch_wait(b);
}
