/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/array_pager.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "runtime/protocol/seeded_bug.h"

struct array_pager *array_pager_of(struct dipc_pager *pager)
{
	return dipc_container_of(pager, struct array_pager, base);
}

static int array_install(struct dipc_pager *pager, uint64_t first, unsigned nr,
			 const void *data, uint64_t who, bool is_write)
{
	struct array_pager *p = array_pager_of(pager);
	uint64_t page;

	if (p->must_fail)
		return -ENOMEM;
	for (page = first; page < first + nr; page++) {
		assert_false(p->is_here[page]);
		assert_int_equal(p->may_write[page], 0);
		p->is_here[page] = true;
		if (is_write && who != DIPC_PAGER_NOBODY)
			p->may_write[page] = 1u << who;
	}
	memcpy(p->data[first], data, (size_t)nr * DIPC_PAGE_SIZE);
	dipc_waitq_wake_all(&p->changed);
	return 0;
}

static int array_resolve(struct dipc_pager *pager, uint64_t page, uint64_t who,
			 bool is_write)
{
	struct array_pager *p = array_pager_of(pager);

	if (!p->is_here[page])
		return -ENOENT;
	if (is_write && who != DIPC_PAGER_NOBODY)
		p->may_write[page] |= 1u << who;
	dipc_waitq_wake_all(&p->changed);
	return 0;
}

static int array_protect_and_copy(struct dipc_pager *pager, uint64_t first,
				  unsigned nr, void *data)
{
	struct array_pager *p = array_pager_of(pager);
	uint64_t page;

	for (page = first; page < first + nr; page++) {
		assert_true(p->is_here[page]);
		if (!seeded_bug(3))
			p->may_write[page] = 0;
	}
	memcpy(data, p->data[first], (size_t)nr * DIPC_PAGE_SIZE);
	return 0;
}

static int array_drop(struct dipc_pager *pager, uint64_t first, unsigned nr)
{
	struct array_pager *p = array_pager_of(pager);
	uint64_t page;

	for (page = first; page < first + nr; page++) {
		p->is_here[page] = false;
		p->may_write[page] = 0;
	}
	memset(p->data[first], 0, (size_t)nr * DIPC_PAGE_SIZE);
	return 0;
}

static int array_poison(struct dipc_pager *pager, uint64_t page, uint64_t who)
{
	struct array_pager *p = array_pager_of(pager);

	if (who == DIPC_PAGER_NOBODY)
		return 0;
	p->is_lost[page] = true;
	dipc_waitq_wake_all(&p->changed);
	return 0;
}

static void array_kill(struct dipc_pager *pager)
{
	struct array_pager *p = array_pager_of(pager);

	p->is_dead = true;
	memset(p->is_here, 0, sizeof(p->is_here));
	memset(p->may_write, 0, sizeof(p->may_write));
	dipc_waitq_wake_all(&p->changed);
}

const struct dipc_pager_ops array_pager_ops = {
	.install = array_install,
	.resolve = array_resolve,
	.protect_and_copy = array_protect_and_copy,
	.drop = array_drop,
	.poison = array_poison,
	.kill = array_kill,
};
