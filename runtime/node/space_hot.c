/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that fault page after page. Their userfaultfds are read in every
 * round of the loop while it polls anyway: to find the fault that way takes
 * one system call, through epoll two.
 */
#include "runtime/node/space_private.h"

/* Reads in vain until a space is left to epoll again: some 100 us. */
#define HOT_PATIENCE 200u

static unsigned hot_poll(struct dipc_poller *poller)
{
	struct dipc_spaces *spaces =
		dipc_container_of(poller, struct dipc_spaces, hot_poller);
	unsigned i, nr, sum = 0;

	for (i = 0; i < HOT_MAX; i++) {
		struct hot *hot = &spaces->hot[i];

		if (!hot->space)
			continue;
		nr = dipc_space_serve(hot->space);
		sum += nr;
		if (nr)
			hot->nr_empty = 0;
		else if (++hot->nr_empty == HOT_PATIENCE)
			hot->space = NULL;
	}
	return sum;
}

void dipc_space_set_hot(struct dipc_space *space)
{
	struct dipc_spaces *spaces = space->spaces;
	struct hot *free = NULL;
	unsigned i;

	for (i = 0; i < HOT_MAX; i++) {
		if (spaces->hot[i].space == space)
			return;
		if (!spaces->hot[i].space)
			free = &spaces->hot[i];
	}
	/* with more than that at once epoll is the better way */
	if (free)
		*free = (struct hot){.space = space};
}

void dipc_space_forget_hot(struct dipc_space *space)
{
	struct dipc_spaces *spaces = space->spaces;
	unsigned i;

	for (i = 0; i < HOT_MAX; i++)
		if (spaces->hot[i].space == space)
			spaces->hot[i].space = NULL;
}

void dipc_spaces_hot_init(struct dipc_spaces *spaces)
{
	/* nothing to arm: epoll watches the descriptors all the time */
	spaces->hot_poller.poll = hot_poll;
	dipc_loop_add_poller(spaces->loop, &spaces->hot_poller);
}

void dipc_spaces_hot_fini(struct dipc_spaces *spaces)
{
	dipc_loop_del_poller(spaces->loop, &spaces->hot_poller);
}
