/* SPDX-License-Identifier: BSD-2-Clause */
/* A pager whose pages are an array: for the page protocol in simulation. */
#ifndef DIPC_TESTS_ARRAY_PAGER_H
#define DIPC_TESTS_ARRAY_PAGER_H

#include "runtime/base/fiber.h"
#include "runtime/protocol/pager.h"

#define ARRAY_PAGER_PAGES 600u
#define ARRAY_PAGER_WORDS (DIPC_PAGE_SIZE / 8)

/* The cache of one node: an array. */
struct array_pager {
	struct dipc_pager base;
	bool is_here[ARRAY_PAGER_PAGES];
	unsigned may_write[ARRAY_PAGER_PAGES]; /* bit a thread */
	bool is_lost[ARRAY_PAGER_PAGES];       /* poisoned */
	bool is_dead;
	bool must_fail; /* the next install fails */
	uint64_t data[ARRAY_PAGER_PAGES][ARRAY_PAGER_WORDS];
	struct dipc_waitq changed;
};

struct array_pager *array_pager_of(struct dipc_pager *pager);

extern const struct dipc_pager_ops array_pager_ops;

#endif
