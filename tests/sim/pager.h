/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A node's cache of one segment in a simulated world: large and sparse. The
 * threads of the node are its processes, each a WHO.
 */
#ifndef DIPC_TESTS_SIM_PAGER_H
#define DIPC_TESTS_SIM_PAGER_H

#include "runtime/base/fiber.h"
#include "runtime/protocol/pager.h"

#define SIM_PAGER_PAGES (3u * DIPC_PAGER_BLOCK)
#define SIM_PAGE_WORDS  (DIPC_PAGE_SIZE / 8)

struct sim_pager {
	struct dipc_pager base;
	uint64_t *data[SIM_PAGER_PAGES];    /* owned; NULL: not here */
	uint8_t may_write[SIM_PAGER_PAGES]; /* bit a thread */
	bool is_lost[SIM_PAGER_PAGES];      /* poisoned */
	bool is_dead;
	struct dipc_waitq changed;
};

struct sim_pager *sim_pager_of(struct dipc_pager *pager);
void sim_pager_init(struct sim_pager *p);
void sim_pager_fini(struct sim_pager *p);

#endif
