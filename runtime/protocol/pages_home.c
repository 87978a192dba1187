/* SPDX-License-Identifier: BSD-2-Clause */
/* The home's side: memory for directory and contents, and recovery. */
#include "runtime/protocol/pages_private.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/base/log.h"

#define EVICT_RUN 1024u /* pages between two turns of the loop */

int dipc_home_create(struct dipc_fabric *f, uint64_t size, uint64_t limit,
		     unsigned max_nodes, struct dipc_home **home_out)
{
	struct dipc_home *home;
	unsigned nr_sharer_words = dipc_entry_sharer_words(max_nodes);
	uint64_t nr, dir_len, len;
	int ret;

	if (!size || max_nodes > ENTRY_NODES_MAX)
		return -EINVAL;
	/* first, so that nothing below overflows */
	if (size > limit || size > UINT64_MAX / 4) {
		dipc_error("no memory for a segment of %llu bytes: %llu left",
			   (unsigned long long)size, (unsigned long long)limit);
		return -ENOMEM;
	}
	nr = (size + DIPC_PAGE_SIZE - 1) / DIPC_PAGE_SIZE;
	dir_len = nr * dipc_entry_size(nr_sharer_words);
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
	home->nr_sharer_words = nr_sharer_words;
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

int dipc_home_evict(struct dipc_home *home, unsigned node)
{
	size_t size = dipc_entry_size(home->nr_sharer_words);
	unsigned max_nodes = home->nr_sharer_words ? home->nr_sharer_words * 64
						   : DIPC_NODES_MAX;
	struct dipc_link *link;
	uint64_t page;
	int ret;

	if (node < 1 || node > max_nodes)
		return -EINVAL;
	ret = dipc_fabric_link(home->fabric, dipc_fabric_node(home->fabric),
			       &link);
	if (ret)
		return ret;
	for (page = 0; page < home->nr_pages; page++) {
		struct dipc_remote at = {.addr = home->dir_addr + page * size,
					 .rkey = home->rkey};

		ret = dipc_entry_evict(link, at,
				       home->region->base + page * size,
				       home->nr_sharer_words, node);
		if (ret)
			return ret;
		if (page % EVICT_RUN == EVICT_RUN - 1)
			dipc_fiber_sleep(DIPC_USEC); /* let the loop turn */
	}
	return 0;
}
