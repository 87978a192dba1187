/* SPDX-License-Identifier: BSD-2-Clause */
/* The home's side: memory for directory and contents, and recovery. */
#include "runtime/protocol/pages_private.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "runtime/base/log.h"

#define EVICT_RUN 1024u /* pages between two turns of the loop */

int dipc_home_create(struct dipc_fabric *f, uint64_t size, uint64_t limit,
		     struct dipc_home **home_out)
{
	struct dipc_home *home;
	uint64_t nr, dir_len, len;
	int ret;

	if (!size)
		return -EINVAL;
	/* first, so that nothing below overflows */
	if (size > limit || size > UINT64_MAX / 2) {
		dipc_error("no memory for a segment of %llu bytes: %llu left",
			   (unsigned long long)size, (unsigned long long)limit);
		return -ENOMEM;
	}
	nr = (size + DIPC_PAGE_SIZE - 1) / DIPC_PAGE_SIZE;
	dir_len = nr * sizeof(uint64_t);
	dir_len = (dir_len + DIPC_PAGE_SIZE - 1) & ~(DIPC_PAGE_SIZE - 1ull);
	len = dir_len + nr * DIPC_PAGE_SIZE;

	home = calloc(1, sizeof(*home));
	if (!home)
		return -ENOMEM;
	ret = dipc_region_create(dipc_fabric_transport(f), NULL, len,
				 &home->region);
	if (ret) {
		dipc_error("no memory for a segment of %llu bytes: error %d",
			   (unsigned long long)size, -ret);
		free(home);
		return -ENOMEM;
	}
	home->fabric = f;
	home->nr_pages = nr;
	home->dir_addr = home->region->remote.addr;
	home->data_addr = home->dir_addr + dir_len;
	home->rkey = home->region->remote.rkey;
	*home_out = home;
	return 0;
}

void dipc_home_destroy(struct dipc_home *home)
{
	if (!home)
		return;
	dipc_region_destroy(home->region);
	free(home);
}

/* WORD without NODE; as it is if recovery leaves it to somebody else. */
static uint64_t word_evict(uint64_t word, unsigned node)
{
	unsigned locker = word_locker(word);

	word &= ~word_bit(node);
	if (locker == node)
		word = word_set_locker(word, 0);
	/* rule B: another's lock means that he will find the holder dead */
	if (word_holder(word) == node && (!locker || locker == node))
		word = word_set_holder(word, WORD_LOST);
	return word;
}

static int home_evict_page(struct dipc_home *home, struct dipc_link *link,
			   uint64_t page, uint64_t word, unsigned node)
{
	struct dipc_remote at = {.addr = home->dir_addr + page * 8,
				 .rkey = home->rkey};
	const uint64_t *old;
	struct dipc_tx tx;
	uint64_t found;
	int ret;

	/* our own WRITEs aside, only atomics change it: through a link, too */
	while (word_evict(word, node) != word) {
		ret = dipc_tx_begin(&tx, link, 8);
		if (ret)
			return ret;
		old = dipc_tx_cas(&tx, at, word, word_evict(word, node));
		ret = dipc_tx_run(&tx);
		found = ret ? 0 : *old;
		dipc_tx_end(&tx);
		if (ret)
			return ret;
		if (found == word)
			break;
		word = found;
	}
	return 0;
}

int dipc_home_evict(struct dipc_home *home, unsigned node)
{
	_Atomic uint64_t *dir = (_Atomic uint64_t *)(void *)home->region->base;
	struct dipc_link *link;
	uint64_t page, word;
	int ret;

	if (node < 1 || node > DIPC_NODES_MAX)
		return -EINVAL;
	ret = dipc_fabric_link(home->fabric, dipc_fabric_node(home->fabric),
			       &link);
	if (ret)
		return ret;
	for (page = 0; page < home->nr_pages; page++) {
		/*
		 * EVICT_1 relaxed: a guess for the CAS. It cannot miss NODE,
		 * which is fenced: its fields only go away.
		 */
		word = atomic_load_explicit(&dir[page], memory_order_relaxed);
		ret = home_evict_page(home, link, page, word, node);
		if (ret)
			return ret;
		if (page % EVICT_RUN == EVICT_RUN - 1)
			dipc_fiber_sleep(DIPC_USEC); /* let the loop turn */
	}
	return 0;
}
