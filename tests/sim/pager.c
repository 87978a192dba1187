/* SPDX-License-Identifier: BSD-2-Clause */
#include "pager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/protocol/seeded_bug.h"
#include "world.h"

struct sim_pager *sim_pager_of(struct dipc_pager *pager)
{
	return dipc_container_of(pager, struct sim_pager, base);
}

static void check_range(uint64_t first, unsigned nr)
{
	if (!nr || first + nr > SIM_PAGER_PAGES ||
	    first / DIPC_PAGER_BLOCK != (first + nr - 1) / DIPC_PAGER_BLOCK)
		sim_fail("the pager is called with pages %llu + %u",
			 (unsigned long long)first, nr);
}

static int pager_install(struct dipc_pager *pager, uint64_t first, unsigned nr,
			 const void *data, uint64_t who, bool is_write)
{
	struct sim_pager *p = sim_pager_of(pager);
	unsigned i;

	check_range(first, nr);
	for (i = 0; i < nr; i++) {
		if (p->data[first + i] || p->may_write[first + i])
			sim_fail("page %llu is installed twice",
				 (unsigned long long)first + i);
		p->data[first + i] = malloc(DIPC_PAGE_SIZE);
		if (!p->data[first + i])
			return -ENOMEM;
		memcpy(p->data[first + i],
		       (const uint8_t *)data + (size_t)i * DIPC_PAGE_SIZE,
		       DIPC_PAGE_SIZE);
		if (is_write && who != DIPC_PAGER_NOBODY)
			p->may_write[first + i] = (uint8_t)(1u << who);
	}
	dipc_waitq_wake_all(&p->changed);
	return 0;
}

static int pager_resolve(struct dipc_pager *pager, uint64_t page, uint64_t who,
			 bool is_write)
{
	struct sim_pager *p = sim_pager_of(pager);

	check_range(page, 1);
	if (!p->data[page])
		return -ENOENT;
	if (is_write && who != DIPC_PAGER_NOBODY)
		p->may_write[page] |= (uint8_t)(1u << who);
	dipc_waitq_wake_all(&p->changed);
	return 0;
}

static int pager_protect_and_copy(struct dipc_pager *pager, uint64_t first,
				  unsigned nr, void *data)
{
	struct sim_pager *p = sim_pager_of(pager);
	unsigned i;

	check_range(first, nr);
	for (i = 0; i < nr; i++) {
		if (!p->data[first + i])
			sim_fail("page %llu is copied and not there",
				 (unsigned long long)first + i);
		if (!seeded_bug(3))
			p->may_write[first + i] = 0;
		memcpy((uint8_t *)data + (size_t)i * DIPC_PAGE_SIZE,
		       p->data[first + i], DIPC_PAGE_SIZE);
	}
	return 0;
}

static void page_drop(struct sim_pager *p, uint64_t page)
{
	free(p->data[page]);
	p->data[page] = NULL;
	p->may_write[page] = 0;
}

static int pager_drop(struct dipc_pager *pager, uint64_t first, unsigned nr)
{
	unsigned i;

	check_range(first, nr);
	for (i = 0; i < nr; i++)
		page_drop(sim_pager_of(pager), first + i);
	return 0;
}

static int pager_poison(struct dipc_pager *pager, uint64_t page, uint64_t who)
{
	struct sim_pager *p = sim_pager_of(pager);

	check_range(page, 1);
	if (who == DIPC_PAGER_NOBODY)
		return 0;
	p->is_lost[page] = true;
	dipc_waitq_wake_all(&p->changed);
	return 0;
}

static void pager_kill(struct dipc_pager *pager)
{
	struct sim_pager *p = sim_pager_of(pager);
	uint64_t page;

	p->is_dead = true;
	for (page = 0; page < SIM_PAGER_PAGES; page++)
		page_drop(p, page);
	dipc_waitq_wake_all(&p->changed);
}

static const struct dipc_pager_ops pager_ops = {
	.install = pager_install,
	.resolve = pager_resolve,
	.protect_and_copy = pager_protect_and_copy,
	.drop = pager_drop,
	.poison = pager_poison,
	.kill = pager_kill,
};

void sim_pager_init(struct sim_pager *p)
{
	memset(p, 0, sizeof(*p));
	p->base.ops = &pager_ops;
	dipc_waitq_init(&p->changed);
}

void sim_pager_fini(struct sim_pager *p)
{
	uint64_t page;

	for (page = 0; page < SIM_PAGER_PAGES; page++)
		if (p->data[page])
			sim_fail("page %llu is released and still here",
				 (unsigned long long)page);
}
