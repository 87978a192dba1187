/* SPDX-License-Identifier: BSD-2-Clause */
#include "referee/extent.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/base/list.h"

struct extent {
	struct dipc_list node; /* by offset */
	uint64_t off, len;
};

struct dipc_extents {
	struct dipc_list free;
	/*
	 * Spare records: giving back must not fail, and a piece given back
	 * needs at most one record, so every take() provides for it.
	 */
	struct dipc_list spare;
	uint64_t align;
	uint64_t free_bytes;
};

static struct extent *extent_of(struct dipc_list *node)
{
	return dipc_container_of(node, struct extent, node);
}

static int spare_add(struct dipc_extents *x)
{
	struct extent *e = malloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	dipc_list_add_tail(&x->spare, &e->node);
	return 0;
}

static uint64_t round_up(const struct dipc_extents *x, uint64_t v)
{
	return (v + x->align - 1) / x->align * x->align;
}

int dipc_extents_create(uint64_t start, uint64_t end, uint64_t align,
			struct dipc_extents **extents_out)
{
	struct dipc_extents *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	dipc_list_init(&x->free);
	dipc_list_init(&x->spare);
	x->align = align;
	if (spare_add(x)) {
		free(x);
		return -ENOMEM;
	}
	start = round_up(x, start);
	end = end / align * align;
	dipc_extents_give(x, start, end > start ? end - start : 0);
	*extents_out = x;
	return 0;
}

static void extents_drop(struct dipc_list *head)
{
	struct dipc_list *node;

	while ((node = dipc_list_pop(head)))
		free(extent_of(node));
}

void dipc_extents_destroy(struct dipc_extents *x)
{
	if (!x)
		return;
	extents_drop(&x->free);
	extents_drop(&x->spare);
	free(x);
}

uint64_t dipc_extents_take(struct dipc_extents *x, uint64_t len)
{
	struct dipc_list *pos;
	uint64_t off;

	len = round_up(x, len);
	if (!len || spare_add(x))
		return 0;
	dipc_list_for_each (pos, &x->free) {
		struct extent *e = extent_of(pos);

		if (e->len < len)
			continue;
		off = e->off;
		e->off += len;
		e->len -= len;
		x->free_bytes -= len;
		if (!e->len) {
			dipc_list_del(&e->node);
			free(e);
		}
		return off;
	}
	free(extent_of(dipc_list_pop(&x->spare)));
	return 0;
}

void dipc_extents_give(struct dipc_extents *x, uint64_t off, uint64_t len)
{
	struct extent *e = extent_of(dipc_list_pop(&x->spare));
	struct extent *prev, *next;
	struct dipc_list *pos;

	len = round_up(x, len);
	if (!len) {
		free(e);
		return;
	}
	dipc_list_for_each (pos, &x->free)
		if (extent_of(pos)->off > off)
			break;
	e->off = off;
	e->len = len;
	dipc_list_add_tail(pos, &e->node); /* before POS */
	x->free_bytes += len;
	next = extent_of(e->node.next);
	if (e->node.next != &x->free && off + len == next->off) {
		e->len += next->len;
		dipc_list_del(&next->node);
		free(next);
	}
	prev = extent_of(e->node.prev);
	if (e->node.prev != &x->free && prev->off + prev->len == off) {
		prev->len += e->len;
		dipc_list_del(&e->node);
		free(e);
	}
}

uint64_t dipc_extents_free_bytes(const struct dipc_extents *x)
{
	return x->free_bytes;
}
